// The status bar's item: what today cost. A button, so that the keyboard reaches it.

import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';
import type { IProxy } from './tokens';
import { statusText, statusTitle } from './words';

export class StatusItem extends ReactWidget {
  constructor(
    private readonly _proxy: IProxy,
    private readonly _trans: TranslationBundle,
    private readonly _open: () => void
  ) {
    super();
    this.addClass('up-StatusItem');
  }

  protected override render(): JSX.Element {
    return (
      <UseSignal signal={this._proxy.changed}>
        {() => (
          <button
            className="up-StatusButton"
            data-state={this._proxy.state?.state ?? 'asking'}
            title={statusTitle(this._proxy, this._trans)}
            onClick={this._open}
          >
            {statusText(this._proxy, this._trans)}
          </button>
        )}
      </UseSignal>
    );
  }
}
