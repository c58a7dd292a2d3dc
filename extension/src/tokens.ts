// What the plugins share: the proxy as this page knows it, and the talk with each notebook's kernel.

import type { NotebookPanel } from '@jupyterlab/notebook';
import { Token } from '@lumino/coreutils';
import type { ISignal } from '@lumino/signaling';
import type { Failure } from './request';

/** The state of the proxy: the server extension's words, and two for when it cannot be asked. */
export interface IState {
  readonly state:
    | 'running'
    | 'refused'
    | 'other_version'
    | 'foreign'
    | 'slow'
    | 'unreachable'
    | 'misconfigured'
    | 'no_server_part'
    | 'jupyter_away';
  readonly reachable: boolean;
  readonly url: string | null;
  readonly source: string | null;
  readonly version: string | null;
  readonly demo: boolean;
  readonly user: { user_name: string; permissions: string[]; sees_all_calls: boolean } | null;
  readonly message: string;
  readonly hint: string;
  readonly can_start: boolean;
  readonly can_stop: boolean;
  /** Whether this JupyterLab ends with the proxy: that one has started it. */
  readonly ends_lab: boolean;
}

/** Numbers of a span; null is unknown. */
export interface INumbers {
  readonly requests: number;
  readonly errors: number;
  readonly total_tokens: number | null;
  readonly cost_usd: number | null;
  readonly unpriced_requests: number;
}

/** Numbers of one model today. */
export interface IModelNumbers extends INumbers {
  readonly model: string | null;
}

/** The columns of a call that are shown here. */
export interface ICall {
  readonly call_id: string;
  readonly started_at: string;
  readonly status: string | null;
  readonly model_requested: string | null;
  readonly model_routed: string | null;
  readonly model_served: string | null;
  readonly provider: string | null;
  readonly input_tokens: number | null;
  readonly output_tokens: number | null;
  readonly cost_nano_usd: number | null;
  readonly duration_ms: number | null;
  readonly error_type: string | null;
  readonly notebook: string | null;
}

/** A budget that concerns the user, and how much of it is used; null is unknown, or not for this user to know. */
export interface IBudget {
  readonly id: string;
  readonly name: string;
  readonly subject: string;
  readonly subject_id: string | null;
  readonly unit: 'nano_usd' | 'tokens';
  readonly amount: number | null;
  readonly period: 'day' | 'week' | 'month' | 'total';
  readonly period_end: string | null;
  readonly hard: boolean;
  readonly enabled: boolean;
  readonly spent: number | null;
  readonly held: number | null;
  readonly left: number | null;
  readonly used_ratio: number | null;
  /** null: too little history, or not reckoned yet; a proxy that is older has none. */
  readonly outlook?: IOutlook | null;
}

/** Where a budget will be by the end of its period, in its unit, and when it will be used up. */
export interface IOutlook {
  readonly expected: number | null;
  readonly lower_80: number | null;
  readonly upper_80: number | null;
  readonly probability: number;
  readonly exhausted_at: string | null;
  readonly earliest_80: string | null;
  readonly latest_80: string | null;
}

/** A provider, without its key. */
export interface IProvider {
  readonly name: string;
  readonly needs_key: boolean;
  readonly has_key: boolean;
  readonly key_source: string | null;
  readonly can_store: boolean;
  readonly base_url: string;
}

/** The user's settings. */
export interface IOptions {
  readonly refreshSeconds: number;
  readonly autoLoad: boolean;
  readonly showStatusBar: boolean;
  readonly panels: readonly string[];
}

/** The proxy as this page knows it. */
export interface IProxy {
  readonly options: IOptions;
  /** null: not asked yet. */
  readonly state: IState | null;
  /** null: unknown, and `problem` may say why. */
  readonly today: INumbers | null;
  readonly models: readonly IModelNumbers[] | null;
  readonly calls: readonly ICall[] | null;
  readonly problem: Failure | null;
  /** null: not asked yet, or `budgetsProblem` says why they are not known. */
  readonly budgets: readonly IBudget[] | null;
  readonly budgetsProblem: Failure | null;
  /** Whether calls come as they happen; otherwise they are asked for now and then. */
  readonly isLive: boolean;
  /** What is being done at the user's wish. */
  readonly doing: 'start' | 'stop' | null;
  readonly changed: ISignal<IProxy, void>;
  refresh(): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
  providers(): Promise<IProvider[]>;
  setKey(provider: string, key: string): Promise<void>;
  removeKey(provider: string): Promise<void>;
}

export const IProxy = new Token<IProxy>(
  '@ultimate-proxy/jupyterlab:IProxy',
  'The LLM proxy as this page knows it: state, numbers of today, calls as they happen.'
);

/** What the kernel tells of a cell that made calls. */
export interface ICellCalls {
  readonly cell_id: string;
  readonly line: string;
  readonly errors: number;
  readonly pending: number;
}

/** Whether a kernel's calls go through the proxy. */
export type Routed =
  'no_kernel' | 'not_loaded' | 'loading' | 'unknown' | 'on' | 'off' | 'unavailable';

/** The talk with the kernel of one notebook. */
export interface IConversation {
  readonly panel: NotebookPanel;
  readonly routed: Routed;
  /** Why, in the kernel's words; empty when there is nothing to say. */
  readonly reason: string;
  readonly changed: ISignal<IConversation, void>;
  readonly cellRan: ISignal<IConversation, ICellCalls>;
  /** Whether someone here draws the line under a cell; else the kernel prints none. */
  drawsLines: boolean;
  toggle(): Promise<void>;
}

/** All talks, by notebook. */
export interface IConversations {
  /** The talk of a notebook; there is one from the moment that the notebook is open. */
  of(panel: NotebookPanel): IConversation;
  readonly added: ISignal<IConversations, IConversation>;
  forEach(visit: (conversation: IConversation) => void): void;
}

export const IConversations = new Token<IConversations>(
  '@ultimate-proxy/jupyterlab:IConversations',
  'The talk with each notebook’s kernel about its LLM calls.'
);

export const COMMANDS = {
  openPanel: 'ultimate-proxy:open-panel',
  openOverview: 'ultimate-proxy:open-overview',
  start: 'ultimate-proxy:start',
  toggleKernel: 'ultimate-proxy:toggle-kernel'
} as const;

export const NAMESPACE = 'ultimate_proxy';
