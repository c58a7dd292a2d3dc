// The notebook toolbar's button: whether this kernel's calls go through the proxy, and the switch.

import { ReactWidget, ToolbarButtonComponent, UseSignal } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';
import { proxyIcon } from './icon';
import type { IConversation } from './tokens';

export class KernelButton extends ReactWidget {
  constructor(
    private readonly _conversation: IConversation,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.addClass('up-KernelButton');
  }

  protected override render(): JSX.Element {
    return (
      <UseSignal signal={this._conversation.changed}>
        {() => {
          const { routed } = this._conversation;
          const isUsable = !['no_kernel', 'loading', 'unavailable'].includes(routed);
          return (
            <ToolbarButtonComponent
              icon={proxyIcon}
              label={this._label()}
              pressed={routed === 'on'}
              enabled={isUsable}
              tooltip={this._tooltip()}
              pressedTooltip={this._tooltip()}
              disabledTooltip={this._tooltip()}
              onClick={() => void this._conversation.toggle()}
            />
          );
        }}
      </UseSignal>
    );
  }

  private _label(): string {
    switch (this._conversation.routed) {
      case 'on':
        return this._trans.__('LLM on');
      case 'loading':
        return this._trans.__('LLM …');
      case 'unknown':
        return this._trans.__('LLM ?');
      default:
        return this._trans.__('LLM off');
    }
  }

  private _tooltip(): string {
    const { routed, reason } = this._conversation;
    const because = reason === '' ? '' : ` ${reason}`;
    switch (routed) {
      case 'on':
        return (
          this._trans.__(
            'LLM calls of this kernel go through the proxy. Click to let them go directly.'
          ) + because
        );
      case 'loading':
        return this._trans.__('Loading ultimate_lib in this kernel …');
      case 'unknown':
        return (
          this._trans.__('Whether LLM calls of this kernel go through the proxy is not known.') +
          because
        );
      case 'no_kernel':
        return this._trans.__('This notebook has no kernel.');
      case 'unavailable':
        return this._trans.__('This cannot be switched here.') + because;
      default:
        return (
          this._trans.__(
            'LLM calls of this kernel do not go through the proxy. Click to route them through it.'
          ) + because
        );
    }
  }
}
