// Sentences that more than one plugin says.

import type { TranslationBundle } from '@jupyterlab/translation';
import { count, usd } from './format';
import type { IProxy, IState } from './tokens';

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
  return `${calls}${unpriced(proxy, trans)} · ${trans.__('click for more')}`;
}

function unpriced(proxy: IProxy, trans: TranslationBundle): string {
  const number = proxy.today?.unpriced_requests ?? 0;
  return number === 0 ? '' : ` · ${trans._n('%1 unpriced', '%1 unpriced', number, count(number))}`;
}
