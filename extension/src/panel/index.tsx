// The panel: state of the proxy, and below it the parts that the settings name.

import { ReactWidget, refreshIcon, UseSignal } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';
import { proxyIcon } from '../icon';
import type { IProxy } from '../tokens';
import { Calls } from './calls';
import { Health } from './health';
import { Keys } from './keys';
import { Models, Today } from './numbers';
import { Trouble } from './trouble';

const PARTS: Record<
  string,
  (props: { proxy: IProxy; trans: TranslationBundle }) => JSX.Element | null
> = {
  today: Today,
  live: Calls,
  models: Models,
  keys: Keys
};

export class Panel extends ReactWidget {
  constructor(
    private readonly _proxy: IProxy,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.id = 'ultimate-proxy-panel';
    this.addClass('up-Panel');
    this.title.icon = proxyIcon;
    this.title.caption = _trans.__('Ultimate Proxy: LLM calls and what they cost');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', _trans.__('Ultimate Proxy'));
  }

  protected override render(): JSX.Element {
    return (
      <UseSignal signal={this._proxy.changed}>
        {() => <Whole proxy={this._proxy} trans={this._trans} />}
      </UseSignal>
    );
  }
}

function Whole({ proxy, trans }: { proxy: IProxy; trans: TranslationBundle }): JSX.Element {
  const isRunning = proxy.state?.state === 'running';
  return (
    <>
      <header className="up-Header">
        <h2>{trans.__('Ultimate Proxy')}</h2>
        {proxy.state?.demo && <span className="up-Badge">{trans.__('demo data')}</span>}
        <button
          className="jp-Button jp-mod-minimal up-Refresh"
          title={trans.__('Look again')}
          aria-label={trans.__('Look again')}
          onClick={() => void proxy.refresh()}
        >
          <refreshIcon.react tag="span" elementSize="normal" />
        </button>
      </header>
      <Health proxy={proxy} trans={trans} />
      {isRunning && proxy.problem !== null && <Trouble failure={proxy.problem} />}
      {isRunning &&
        proxy.options.panels.map(name => {
          const Part = PARTS[name];
          return Part === undefined ? null : <Part key={name} proxy={proxy} trans={trans} />;
        })}
    </>
  );
}
