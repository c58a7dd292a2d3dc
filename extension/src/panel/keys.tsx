// Entering a provider's key: it goes in, the field is emptied, and nothing ever shows it again.

import type { TranslationBundle } from '@jupyterlab/translation';
import React, { useCallback, useEffect, useId, useState } from 'react';
import type { Failure } from '../request';
import type { IProvider, IProxy } from '../tokens';
import { Section } from './section';
import { Trouble } from './trouble';

const MAY_ENTER = 'settings:manage';

interface IProps {
  readonly proxy: IProxy;
  readonly trans: TranslationBundle;
}

export function Keys({ proxy, trans }: IProps): JSX.Element | null {
  const may = proxy.state?.user?.permissions.includes(MAY_ENTER) ?? false;
  const title = trans.__('Provider keys');
  if (may) {
    return (
      <Section title={title}>
        <Form proxy={proxy} trans={trans} />
      </Section>
    );
  }
  return (
    <Section title={title}>
      <p className="up-Quiet">
        {trans.__('Your key may not change the proxy’s settings; an administrator’s may.')}
      </p>
    </Section>
  );
}

function Form({ proxy, trans }: IProps): JSX.Element {
  const [providers, setProviders] = useState<IProvider[] | null>(null);
  const [name, setName] = useState('');
  const [key, setKey] = useState('');
  const [done, setDone] = useState('');
  const [failure, setFailure] = useState<Failure | null>(null);
  const [isBusy, setBusy] = useState(false);
  const id = useId();
  const url = proxy.state?.url;

  const load = useCallback(async () => {
    const found = (await proxy.providers()).filter(one => one.needs_key);
    setProviders(found);
    setName(last => last || (found.find(one => one.can_store) ?? found[0])?.name || '');
  }, [proxy]);
  useEffect(() => {
    load().catch(error => setFailure(error as Failure));
  }, [load, url]);

  const act = async (what: () => Promise<void>, told: string): Promise<void> => {
    setBusy(true);
    setFailure(null);
    setDone('');
    setKey('');
    try {
      await what();
      setDone(told);
      await load();
    } catch (error) {
      setFailure(error as Failure);
    } finally {
      setBusy(false);
    }
  };
  const submit = (event: React.FormEvent): void => {
    event.preventDefault();
    void act(() => proxy.setKey(name, key.trim()), trans.__('The key of %1 is in force.', name));
  };
  const chosen = providers?.find(one => one.name === name);
  return (
    <form className="up-Form" onSubmit={submit} autoComplete="off">
      <label htmlFor={`${id}-provider`}>{trans.__('Provider')}</label>
      <select
        id={`${id}-provider`}
        value={name}
        disabled={isBusy || providers === null}
        onChange={event => setName(event.target.value)}
      >
        {(providers ?? []).map(one => (
          <option key={one.name} value={one.name}>
            {one.has_key ? `${one.name} ✓` : one.name}
          </option>
        ))}
      </select>
      {chosen !== undefined && <Source provider={chosen} trans={trans} />}
      <label htmlFor={`${id}-key`}>{trans.__('Key')}</label>
      <input
        id={`${id}-key`}
        type="password"
        autoComplete="off"
        spellCheck={false}
        placeholder={trans.__('Paste the provider’s key')}
        value={key}
        disabled={isBusy || !chosen?.can_store}
        onChange={event => setKey(event.target.value)}
      />
      <div className="up-Buttons">
        <button
          type="submit"
          className="jp-Button jp-mod-styled jp-mod-accept"
          disabled={isBusy || key.trim() === '' || !chosen?.can_store}
        >
          {trans.__('Save key')}
        </button>
        {chosen?.has_key && chosen.can_store && (
          <button
            type="button"
            className="jp-Button jp-mod-styled"
            disabled={isBusy}
            onClick={() =>
              void act(() => proxy.removeKey(name), trans.__('The key of %1 was removed.', name))
            }
          >
            {trans.__('Remove key')}
          </button>
        )}
      </div>
      <p className="up-Done" role="status">
        {done}
      </p>
      {failure !== null && <Trouble failure={failure} />}
    </form>
  );
}

function Source({
  provider,
  trans
}: {
  provider: IProvider;
  trans: TranslationBundle;
}): JSX.Element {
  if (!provider.has_key) {
    return (
      <p className="up-Quiet">
        {trans.__('No key yet. It will go to %1 alone.', provider.base_url)}
      </p>
    );
  }
  const source = provider.can_store
    ? trans.__('A key is stored. Another one takes its place.')
    : trans.__('Its key comes from the %1; change it there.', provider.key_source ?? '?');
  return <p className="up-Quiet">{source}</p>;
}
