// The proxy as this page knows it: asked regularly while the page is visible, less often while the proxy is away.

import type { ServerConnection } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import { type ISignal, Signal } from '@lumino/signaling';
import { today } from './format';
import { Live } from './live';
import { ask, Failure, query } from './request';
import type {
  IBudget,
  ICall,
  IModelNumbers,
  INumbers,
  IOptions,
  IProvider,
  IProxy,
  IState
} from './tokens';

const MOST_CALLS = 50;
const TOP_MODELS = 5;
const SOON_MS = 400;
const LONGEST_PAUSE_MS = 30_000; // between looks for a proxy that is away
const METRICS = 'requests,errors,total_tokens,cost_usd,unpriced_requests';
const MAY_SEE = 'analytics:view';

/** A day without calls: known to be nothing. */
const NOTHING: INumbers = {
  requests: 0,
  errors: 0,
  total_tokens: 0,
  cost_usd: 0,
  unpriced_requests: 0
};

interface IRows<T> {
  readonly rows: T[];
}

interface ICallPage extends IRows<ICall> {
  readonly time_zone: string;
}

export const DEFAULTS: IOptions = {
  refreshSeconds: 10,
  autoLoad: false,
  showStatusBar: true,
  panels: ['today', 'live', 'models', 'keys']
};

export class ProxyModel implements IProxy, IDisposable {
  constructor(private readonly _settings: ServerConnection.ISettings) {
    this._live = new Live(
      _settings,
      call => this._heard(call),
      is => this._connected(is)
    );
    this._poll = new Poll({
      auto: false,
      factory: () => this._look(),
      frequency: { interval: DEFAULTS.refreshSeconds * 1000, backoff: 2, max: LONGEST_PAUSE_MS },
      name: '@ultimate-proxy/jupyterlab:look',
      standby: 'when-hidden'
    });
    document.addEventListener('visibilitychange', this._onVisibility);
  }

  options: IOptions = DEFAULTS;
  state: IState | null = null;
  today: INumbers | null = null;
  models: readonly IModelNumbers[] | null = null;
  calls: readonly ICall[] | null = null;
  problem: Failure | null = null;
  budgets: readonly IBudget[] | null = null;
  budgetsProblem: Failure | null = null;
  isLive = false;
  doing: 'start' | 'stop' | null = null;

  get changed(): ISignal<IProxy, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    document.removeEventListener('visibilitychange', this._onVisibility);
    this._live.dispose();
    this._poll.dispose();
    Signal.clearData(this);
  }

  /** Take other settings; the next look goes by them. */
  configure(options: IOptions): void {
    this.options = options;
    const interval = options.refreshSeconds * 1000;
    this._poll.frequency = { interval, backoff: 2, max: Math.max(interval, LONGEST_PAUSE_MS) };
    this._changed.emit();
    void this.refresh();
  }

  async refresh(): Promise<void> {
    await this._poll.refresh();
    await this._poll.tick;
  }

  async start(): Promise<void> {
    await this._do('start');
  }

  async stop(): Promise<void> {
    await this._do('stop');
  }

  async providers(): Promise<IProvider[]> {
    return ask<IProvider[]>(this._settings, 'api/providers');
  }

  async setKey(provider: string, key: string): Promise<void> {
    const path = `api/providers/${encodeURIComponent(provider)}/key`;
    await ask(this._settings, path, { method: 'PUT', body: JSON.stringify({ key }) });
  }

  async removeKey(provider: string): Promise<void> {
    const path = `api/providers/${encodeURIComponent(provider)}/key`;
    await ask(this._settings, path, { method: 'DELETE' });
  }

  private async _do(what: 'start' | 'stop'): Promise<void> {
    this.doing = what;
    this._changed.emit();
    try {
      this.state = await ask<IState>(this._settings, what, { method: 'POST', body: '{}' });
    } finally {
      this.doing = null;
      void this.refresh();
      this._changed.emit();
    }
  }

  /** One look at everything. Rejects while the proxy is away, so that the poll takes its time. */
  private async _look(): Promise<void> {
    try {
      this.state = await ask<IState>(this._settings, 'state');
    } catch (error) {
      this.state = unasked(error as Failure);
    }
    if (this.state.state !== 'running') {
      this._live.stop();
      this.isLive = false;
      this.today = this.models = this.calls = this.problem = null;
      this.budgets = this.budgetsProblem = null;
      this._changed.emit();
      throw new Error(this.state.message);
    }
    await Promise.all([this._numbers(), this._budgets()]);
    if (!document.hidden) {
      this._live.start();
    }
    this._changed.emit();
  }

  private async _numbers(): Promise<void> {
    if (!this.state?.user?.permissions.includes(MAY_SEE)) {
      const hint = 'An administrator of the proxy can give the key a role that may.';
      this.problem = new Failure(403, 'denied', 'The key may not see numbers.', hint);
      return;
    }
    try {
      if (!this.isLive || this._behind || this._zone === null) {
        this._behind = false;
        const page = await ask<ICallPage>(
          this._settings,
          `api/analytics/calls${query({ limit: MOST_CALLS })}`
        );
        const newest = page.rows[0]?.started_at ?? '';
        const heard = (this.calls ?? []).filter(call => call.started_at > newest);
        this.calls = [...heard, ...page.rows].slice(0, MOST_CALLS);
        this._zone = page.time_zone;
      }
      await this._sums(this._zone);
      this.problem = null;
    } catch (error) {
      this.today = this.models = null; // old numbers would be taken for those of now
      this.problem = error as Failure;
    }
  }

  private async _budgets(): Promise<void> {
    try {
      const told = await ask<{ budgets: IBudget[] }>(this._settings, 'api/budgets/status');
      this.budgets = told.budgets.filter(one => one.enabled);
      this.budgetsProblem = null;
    } catch (error) {
      this.budgets = null; // old ones would be taken for those of now
      this.budgetsProblem = error as Failure;
    }
  }

  private async _sums(zone: string): Promise<void> {
    const asked = { start: today(zone), metrics: METRICS };
    const [total, models] = await Promise.all([
      ask<IRows<INumbers>>(this._settings, `api/analytics/aggregate${query(asked)}`),
      ask<IRows<IModelNumbers>>(
        this._settings,
        `api/analytics/breakdown${query({ ...asked, by: 'model', order_by: 'cost_usd', limit: TOP_MODELS })}`
      )
    ]);
    this.today = total.rows[0] ?? NOTHING;
    this.models = models.rows;
  }

  private _heard(call: ICall): void {
    const others = (this.calls ?? []).filter(known => known.call_id !== call.call_id);
    this.calls = [call, ...others].slice(0, MOST_CALLS);
    this._changed.emit();
    if (this._soon === null) {
      this._soon = window.setTimeout(() => {
        this._soon = null;
        void Promise.all([this._numbers(), this._budgets()]).then(() => this._changed.emit());
      }, SOON_MS);
    }
  }

  private _connected(is: boolean): void {
    if (this.isLive !== is) {
      this._behind = is; // what happened before the stream began is asked for once more
      this.isLive = is;
      void this.refresh();
    }
  }

  private readonly _onVisibility = (): void => {
    if (document.hidden) {
      this._live.stop();
      this.isLive = false;
    } else {
      void this.refresh();
    }
  };

  private readonly _changed = new Signal<IProxy, void>(this);
  private readonly _live: Live;
  private readonly _poll: Poll;
  private _zone: string | null = null; // of the proxy's days
  private _behind = true;
  private _soon: number | null = null;
  private _isDisposed = false;
}

/** The state when the server extension could not be asked. */
function unasked(failure: Failure): IState {
  const away = failure.status === 0 || failure.status >= 500;
  return {
    state: away ? 'jupyter_away' : 'no_server_part',
    reachable: false,
    url: null,
    source: null,
    version: null,
    demo: false,
    user: null,
    message: failure.message,
    hint: failure.hint,
    can_start: false,
    can_stop: false,
    ends_lab: false
  };
}
