// Today's sums, and the models that took most of them.

import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';
import { count, plain, UNKNOWN, usd, whole } from '../format';
import type { IProxy } from '../tokens';
import { Budgets } from './budgets';
import { Section } from './section';

interface IProps {
  readonly proxy: IProxy;
  readonly trans: TranslationBundle;
}

export function Today({ proxy, trans }: IProps): JSX.Element {
  const { today } = proxy;
  const isNothing = today?.requests === 0;
  const spend = isNothing ? 0 : today?.cost_usd;
  const tokens = isNothing ? 0 : today?.total_tokens;
  const unpriced = today?.unpriced_requests ?? 0;
  return (
    <Section title={trans.__('Today')}>
      <dl className="up-Figures" aria-live="polite">
        <Figure label={trans.__('Spend')} value={usd(spend)} exact={whole(spend)} large />
        <Figure
          label={trans.__('Calls')}
          value={count(today?.requests)}
          exact={plain(today?.requests)}
        />
        <Figure label={trans.__('Tokens')} value={count(tokens)} exact={plain(tokens)} />
      </dl>
      {unpriced > 0 && (
        <p className="up-Quiet">
          {trans._n(
            'Without %1 call whose price is not known.',
            'Without %1 calls whose price is not known.',
            unpriced,
            count(unpriced)
          )}
        </p>
      )}
      {isNothing && (
        <p className="up-Quiet">{trans.__('No call yet today: run a cell that calls a model.')}</p>
      )}
      <Budgets proxy={proxy} trans={trans} />
    </Section>
  );
}

function Figure(props: {
  label: string;
  value: string;
  exact: string;
  large?: boolean;
}): JSX.Element {
  return (
    <div className={props.large ? 'up-Figure up-mod-large' : 'up-Figure'}>
      <dt>{props.label}</dt>
      <dd title={props.exact}>{props.value}</dd>
    </div>
  );
}

export function Models({ proxy, trans }: IProps): JSX.Element {
  const rows = proxy.models ?? [];
  const most = Math.max(0, ...rows.map(row => row.cost_usd ?? 0));
  return (
    <Section title={trans.__('Top models today')}>
      {rows.length === 0 ? (
        <p className="up-Quiet">
          {proxy.models === null ? UNKNOWN : trans.__('Models appear here with their first call.')}
        </p>
      ) : (
        <ul className="up-Models">
          {rows.map(row => (
            <li key={row.model ?? ''}>
              <span className="up-Name" title={row.model ?? undefined}>
                {row.model ?? UNKNOWN}
              </span>
              <span className="up-Number">{usd(row.cost_usd)}</span>
              <span className="up-Bar" aria-hidden="true">
                <span style={{ width: `${most > 0 ? ((row.cost_usd ?? 0) / most) * 100 : 0}%` }} />
              </span>
              <span className="up-Quiet">
                {trans._n('%1 call', '%1 calls', row.requests, count(row.requests))} ·{' '}
                {trans.__('%1 tokens', count(row.total_tokens))}
              </span>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}
