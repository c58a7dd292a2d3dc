// How the proxy does, what to do about it, and the buttons for what can be done from here.

import { Dialog, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import React, { useState } from 'react';
import { Failure } from '../request';
import type { IProxy, IState } from '../tokens';
import { stateHint, stateWords } from '../words';
import { Trouble } from './trouble';

interface IProps {
  readonly proxy: IProxy;
  readonly trans: TranslationBundle;
}

export function Health({ proxy, trans }: IProps): JSX.Element {
  const [failure, setFailure] = useState<Failure | null>(null);
  const { state, doing } = proxy;
  const act = async (what: () => Promise<void>): Promise<void> => {
    setFailure(null);
    try {
      await what();
    } catch (error) {
      setFailure(error as Failure);
    }
  };
  const stop = async (): Promise<void> => {
    if (await confirmed(state?.ends_lab ?? false, trans)) {
      await act(() => proxy.stop());
    }
  };
  return (
    <section className="up-Section up-Health" aria-label={trans.__('State of the proxy')}>
      <div aria-live="polite">
        <p className="up-State" data-state={state?.state ?? 'asking'}>
          <span className="up-Dot" aria-hidden="true" />
          <strong>{doing === null ? stateWords(state, trans) : doingWords(doing, trans)}</strong>
        </p>
        {state !== null && doing === null && <Details state={state} trans={trans} />}
      </div>
      {failure !== null && <Trouble failure={failure} />}
      <div className="up-Buttons">
        {state?.can_start && (
          <button
            className="jp-Button jp-mod-styled jp-mod-accept"
            disabled={doing !== null}
            onClick={() => void act(() => proxy.start())}
          >
            {trans.__('Start')}
          </button>
        )}
        {state?.can_stop && (
          <button
            className="jp-Button jp-mod-styled jp-mod-reject"
            disabled={doing !== null}
            onClick={() => void stop()}
          >
            {trans.__('Stop')}
          </button>
        )}
        {state !== null && state.state !== 'running' && (
          <button
            className="jp-Button jp-mod-styled"
            disabled={doing !== null}
            onClick={() => void proxy.refresh()}
          >
            {trans.__('Look again')}
          </button>
        )}
      </div>
    </section>
  );
}

function Details({ state, trans }: { state: IState; trans: TranslationBundle }): JSX.Element {
  if (state.state === 'running') {
    return (
      <p className="up-Quiet">
        {state.url}
        {state.version !== null && ` · ${trans.__('version %1', state.version)}`}
        {state.user !== null && ` · ${trans.__('as %1', state.user.user_name)}`}
      </p>
    );
  }
  const hint = stateHint(state, trans);
  return (
    <>
      <p>{state.message}</p>
      {hint && <p className="up-Quiet">{hint}</p>}
    </>
  );
}

function doingWords(doing: 'start' | 'stop', trans: TranslationBundle): string {
  return doing === 'start' ? trans.__('Starting …') : trans.__('Stopping …');
}

async function confirmed(endsLab: boolean, trans: TranslationBundle): Promise<boolean> {
  const told = trans.__(
    'Open calls are finished first. Notebooks and programs that go through it cannot call models until it runs again.'
  );
  const more = trans.__(
    'This JupyterLab was started with the proxy and ends with it: save your notebooks first.'
  );
  const result = await showDialog({
    title: endsLab ? trans.__('Stop the proxy and JupyterLab?') : trans.__('Stop the proxy?'),
    body: endsLab ? `${more} ${told}` : told,
    buttons: [
      Dialog.cancelButton(),
      Dialog.warnButton({ label: endsLab ? trans.__('Stop both') : trans.__('Stop') })
    ]
  });
  return result.button.accept;
}
