// Sentences that more than one plugin says.

import type { TranslationBundle } from '@jupyterlab/translation';
import { count, instant, UNKNOWN, usd } from './format';
import type { IBudget, IProxy, IState } from './tokens';

/** Chances below this are not told. */
const RARE = 0.01;

/** The state of the proxy in a few words. */
export function stateWords(state: IState | null, trans: TranslationBundle): string {
  switch (state?.state) {
    case undefined:
      return trans.__('Looking for the proxy …');
    case 'running':
      return trans.__('Running');
    case 'refused':
      return trans.__('Key refused');
    case 'other_version':
      return trans.__('Another version');
    case 'foreign':
      return trans.__('Not an Ultimate Proxy');
    case 'slow':
      return trans.__('Does not answer in time');
    case 'unreachable':
      return trans.__('Not reachable');
    case 'misconfigured':
      return trans.__('Configuration');
    case 'no_server_part':
      return trans.__('Server extension missing');
    default:
      return trans.__('Jupyter does not answer');
  }
}

/** What to do about a state; empty when nothing. */
export function stateHint(state: IState, trans: TranslationBundle): string {
  if (state.state === 'no_server_part') {
    return trans.__(
      'Run “jupyter server extension enable jupyterlab_ultimate_proxy” and start JupyterLab anew.'
    );
  }
  if (state.state === 'jupyter_away') {
    return trans.__(
      'Look whether JupyterLab still runs; this page goes on by itself when it does.'
    );
  }
  return state.hint;
}

/** The status bar's text. */
export function statusText(proxy: IProxy, trans: TranslationBundle): string {
  const { state, today } = proxy;
  if (state?.state !== 'running') {
    return `LLM: ${stateWords(state, trans)}`;
  }
  const spent = today === null || today.requests > 0 ? usd(today?.cost_usd) : usd(0);
  const text = trans.__('LLM %1 today', spent);
  return state.demo ? `${text} · ${trans.__('demo data')}` : text;
}

/** What a hand over the status bar is told. */
export function statusTitle(proxy: IProxy, trans: TranslationBundle): string {
  const { state, today, problem } = proxy;
  if (state === null || state.state !== 'running') {
    return state === null ? '' : `${state.message} ${stateHint(state, trans)}`.trim();
  }
  if (today === null) {
    return problem === null ? '' : `${problem.message} ${problem.hint}`.trim();
  }
  const calls = trans._n('%1 call', '%1 calls', today.requests, count(today.requests));
  const told = [`${calls}${unpriced(proxy, trans)}`, ...tightest(proxy, trans)];
  return [...told, trans.__('click for more')].join(' · ');
}

/** The name of a budget as people know it. */
export function budgetName(budget: IBudget, trans: TranslationBundle): string {
  const whose = budget.subject === 'global' ? trans.__('everyone') : budget.subject;
  return `${budget.name || whose} · ${PERIODS[budget.period](trans)}`;
}

/** What is left of a budget, and until when. */
export function budgetWords(budget: IBudget, trans: TranslationBundle): string {
  const ends = budget.period_end === null ? null : instant(budget.period_end).toLocaleString();
  const left = isUsedUp(budget)
    ? budget.hard
      ? trans.__('used up: calls are refused')
      : trans.__('used up: calls go on')
    : budget.amount === null
      ? trans.__('%1 used', percent(budget))
      : trans.__('%1 left', amount(budget.left, budget, trans));
  const held = budget.held ? trans.__('%1 held', amount(budget.held, budget, trans)) : null;
  return [left, held, ends === null ? null : trans.__('until %1', ends)]
    .filter(Boolean)
    .join(' · ');
}

/** What a budget will be by its end, and when it will be used up; empty where that is not known. */
export function outlookWords(budget: IBudget, trans: TranslationBundle): string {
  const told = budget.outlook;
  if (!told || isUsedUp(budget)) {
    return '';
  }
  const value = (one: number | null): string =>
    amount(one === null ? null : Math.max(one, budget.spent ?? 0), budget, trans);
  const expected =
    told.expected === null
      ? null
      : trans.__(
          '%1 expected (80 %: %2 to %3)',
          value(told.expected),
          value(told.lower_80),
          value(told.upper_80)
        );
  const { exhausted_at: at, earliest_80: early, latest_80: late } = told;
  if (at === null || early === null || late === null || told.probability < RARE) {
    return expected ?? '';
  }
  const day = (text: string): string =>
    budget.period === 'day'
      ? instant(text).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
      : instant(text).toLocaleDateString([], { day: 'numeric', month: 'short' });
  const likely =
    told.probability >= 1 - RARE / 2
      ? trans.__('almost certain')
      : trans.__('%1% likely', Math.round(told.probability * 100));
  const when =
    day(early) === day(late)
      ? trans.__('%1 to be used up: %2', likely, day(at))
      : trans.__('%1 to be used up: %2 (80 %: %3 to %4)', likely, day(at), day(early), day(late));
  return [expected, when].filter(Boolean).join(' · ');
}

/** Whether nothing is left of a budget. */
export function isUsedUp(budget: IBudget): boolean {
  return budget.left !== null ? budget.left <= 0 : (budget.used_ratio ?? 0) >= 1;
}

/** A number in a budget's unit. */
export function amount(value: number | null, budget: IBudget, trans: TranslationBundle): string {
  if (budget.unit === 'nano_usd') {
    return usd(value === null ? null : value / 1e9);
  }
  return trans.__('%1 tokens', count(value));
}

/** Which part of a whole a number is, from 0 to 1. */
export function share(value: number | null, whole: number): number {
  return whole > 0 ? Math.min(Math.max((value ?? 0) / whole, 0), 1) : 1;
}

const PERIODS: Record<IBudget['period'], (trans: TranslationBundle) => string> = {
  day: trans => trans.__('today'),
  week: trans => trans.__('this week'),
  month: trans => trans.__('this month'),
  total: trans => trans.__('in all')
};

/** The budget of which the greatest part is used, in a few words; nothing when there is none. */
function tightest(proxy: IProxy, trans: TranslationBundle): string[] {
  const known = (proxy.budgets ?? []).filter(one => one.used_ratio !== null);
  known.sort((a, b) => (b.used_ratio ?? 0) - (a.used_ratio ?? 0));
  return known.slice(0, 1).map(one => {
    const name = budgetName(one, trans);
    return one.amount === null
      ? trans.__('budget %1: %2 used', name, percent(one))
      : trans.__('budget %1: %2 of %3 used', name, percent(one), amount(one.amount, one, trans));
  });
}

function percent(budget: IBudget): string {
  return budget.used_ratio === null ? UNKNOWN : `${Math.round(budget.used_ratio * 100)}%`;
}

function unpriced(proxy: IProxy, trans: TranslationBundle): string {
  const number = proxy.today?.unpriced_requests ?? 0;
  return number === 0 ? '' : ` · ${trans._n('%1 unpriced', '%1 unpriced', number, count(number))}`;
}
