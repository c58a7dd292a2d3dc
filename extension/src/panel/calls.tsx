// Calls as they happen, newest on top.

import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';
import { count, instant, span, UNKNOWN, usd } from '../format';
import type { ICall, IProxy } from '../tokens';
import { Section } from './section';

interface IProps {
  readonly proxy: IProxy;
  readonly trans: TranslationBundle;
}

export function Calls({ proxy, trans }: IProps): JSX.Element {
  const calls = proxy.calls ?? [];
  const note = proxy.isLive ? (
    <span className="up-Live">{trans.__('live')}</span>
  ) : (
    <span className="up-Quiet" title={trans.__('Calls cannot be heard as they happen.')}>
      {trans.__('every %1 s', proxy.options.refreshSeconds)}
    </span>
  );
  return (
    <Section title={trans.__('Calls')} note={proxy.calls !== null && note}>
      {calls.length === 0 ? (
        <p className="up-Quiet">
          {proxy.calls === null
            ? UNKNOWN
            : trans.__('No call in the last 24 hours: run a cell that calls a model.')}
        </p>
      ) : (
        <ol
          className="up-Calls"
          aria-live="polite"
          aria-relevant="additions"
          aria-label={trans.__('Calls, newest first')}
          tabIndex={0}
        >
          {calls.map(call => (
            <Call key={call.call_id} call={call} trans={trans} />
          ))}
        </ol>
      )}
    </Section>
  );
}

function Call({ call, trans }: { call: ICall; trans: TranslationBundle }): JSX.Element {
  const at = instant(call.started_at);
  const model = call.model_served ?? call.model_routed ?? call.model_requested ?? UNKNOWN;
  const cost = call.cost_nano_usd === null ? null : call.cost_nano_usd / 1e9;
  const isGood = call.status === 'ok';
  const why = [call.status, call.error_type].filter(Boolean).join(': ');
  return (
    <li className={isGood ? 'up-Call' : 'up-Call up-mod-bad'}>
      <span
        className="up-Name"
        title={[model, call.provider, call.notebook].filter(Boolean).join(' · ')}
      >
        {model}
      </span>
      <span
        className="up-Number"
        title={cost === null ? trans.__('Its price is not known.') : undefined}
      >
        {usd(cost)}
      </span>
      <span className="up-Quiet up-Details">
        <span>
          <time dateTime={at.toISOString()} title={at.toLocaleString()}>
            {at.toLocaleTimeString([], { hour12: false })}
          </time>
          {` · ${trans.__('%1 tokens', count(tokens(call)))} · ${span(call.duration_ms)}`}
        </span>
        <span className="up-Status" title={why}>
          {call.status ?? UNKNOWN}
        </span>
      </span>
    </li>
  );
}

function tokens(call: ICall): number | null {
  const { input_tokens: input, output_tokens: output } = call;
  return input === null && output === null ? null : (input ?? 0) + (output ?? 0);
}
