// The talk with a notebook's kernel: one comm target, spoken in both directions.
//
// The kernel opens a comm when `%load_ext ultimate_lib` runs; a page that comes later takes up the comms that the
// kernel has open. Page → kernel: hello, path, on, off, line. Kernel → page: state, cell.

import { Notification } from '@jupyterlab/apputils';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { Contents, Kernel } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { JSONObject, JSONValue } from '@lumino/coreutils';
import { type ISignal, Signal } from '@lumino/signaling';
import type { ICellCalls, IConversation, Routed } from './tokens';

const TARGET = 'ultimate_proxy';
const VERSION = 1;
const LOAD = '%load_ext ultimate_lib';

export class Conversation implements IConversation {
  constructor(
    readonly panel: NotebookPanel,
    private readonly _contents: Contents.IManager,
    private readonly _trans: TranslationBundle,
    private readonly _autoLoad: () => boolean
  ) {
    const context = panel.sessionContext;
    context.kernelChanged.connect((_, change) => this._attach(change.newValue));
    context.statusChanged.connect((_, status) => {
      if (status === 'restarting' || status === 'autorestarting') {
        this._attach(context.session?.kernel ?? null);
      }
    });
    panel.context.pathChanged.connect(() => this._send({ event: 'path', path: this._path }));
    panel.disposed.connect(() => Signal.clearData(this));
    this._attach(context.session?.kernel ?? null);
  }

  get routed(): Routed {
    return this._routed;
  }

  get reason(): string {
    return this._reason;
  }

  get changed(): ISignal<IConversation, void> {
    return this._changed;
  }

  get cellRan(): ISignal<IConversation, ICellCalls> {
    return this._cellRan;
  }

  get drawsLines(): boolean {
    return this._drawsLines;
  }

  set drawsLines(does: boolean) {
    if (does !== this._drawsLines) {
      this._drawsLines = does;
      this._send({ event: 'line', on: does }); // nobody hears it before a kernel speaks, and then `hello` tells
    }
  }

  async toggle(): Promise<void> {
    if (this._comms.length === 0) {
      await this._load(true);
    } else {
      this._send({ event: this._routed === 'on' ? 'off' : 'on' });
    }
  }

  private get _path(): string {
    return this._contents.localPath(this.panel.context.path);
  }

  private _attach(kernel: Kernel.IKernelConnection | null): void {
    this._comms = [];
    this._kernel = kernel;
    if (kernel === null) {
      this._become('no_kernel');
    } else if (!kernel.handleComms) {
      this._become('unavailable', this._trans.__('Another view of this kernel speaks with it.'));
    } else {
      this._become('not_loaded');
      kernel.registerCommTarget(TARGET, (comm, message) => this._adopt(comm, message.content.data));
      void this._greet(kernel);
    }
  }

  /** Take up what the kernel has open already; load the extension if the user wants that for every kernel. */
  private async _greet(kernel: Kernel.IKernelConnection): Promise<void> {
    try {
      const info = await kernel.info;
      const reply = await kernel.requestCommInfo({ target_name: TARGET });
      if (kernel !== this._kernel || kernel.isDisposed || reply.content.status !== 'ok') {
        return;
      }
      for (const id of Object.keys(reply.content.comms)) {
        if (!kernel.hasComm(id)) {
          this._adopt(kernel.createComm(TARGET, id), {});
        }
      }
      if (this._comms.length === 0 && this._autoLoad() && info.language_info.name === 'python') {
        await this._load(false);
      }
    } catch (error) {
      if (kernel === this._kernel && !kernel.isDisposed) {
        throw error; // else it was shut down or restarted meanwhile, and greeted anew
      }
    }
  }

  private async _load(isAsked: boolean): Promise<void> {
    const kernel = this._kernel;
    if (kernel === null || this._routed === 'loading') {
      return;
    }
    this._become('loading');
    const future = kernel.requestExecute({ code: LOAD, silent: true, store_history: false });
    const reply = await future.done;
    if (kernel !== this._kernel) {
      return;
    }
    if (reply.content.status === 'ok') {
      if (this._comms.length === 0) {
        this._become(
          'unknown',
          this._trans.__('The extension is loaded but has not told its state.')
        );
      }
      return;
    }
    const told =
      reply.content.status === 'error' ? `${reply.content.ename}: ${reply.content.evalue}` : '';
    this._become('not_loaded', told);
    if (isAsked) {
      const hint = this._trans.__('Install ultimate-proxy into the environment of this kernel.');
      const message = this._trans.__('“%1” did not work in this kernel. %2', LOAD, told);
      Notification.error(told.startsWith('ModuleNotFoundError') ? `${message} ${hint}` : message, {
        autoClose: 10_000
      });
    }
  }

  private _adopt(comm: Kernel.IComm, data: JSONValue): void {
    this._comms.push(comm);
    comm.onMsg = message => this._heard(message.content.data);
    comm.onClose = () => {
      this._comms = this._comms.filter(one => one !== comm);
      if (this._comms.length === 0) {
        this._become('not_loaded');
      }
    };
    this._become('unknown', this._trans.__('The kernel has not told yet.'));
    comm.send({ event: 'hello', version: VERSION, path: this._path });
    if (!this._drawsLines) {
      comm.send({ event: 'line', on: false });
    }
    this._heard(data);
  }

  private _heard(data: JSONValue): void {
    const told = data as JSONObject;
    if (told.event === 'state' || (told.event === undefined && typeof told.routed === 'boolean')) {
      this._become(told.routed === true ? 'on' : 'off', String(told.reason ?? ''));
    } else if (told.event === 'cell' && typeof told.cell_id === 'string') {
      this._cellRan.emit({
        cell_id: told.cell_id,
        line: typeof told.line === 'string' ? told.line : '',
        errors: Number(told.errors ?? 0),
        pending: Number(told.pending ?? 0)
      });
    }
  }

  private _send(message: JSONObject): void {
    for (const comm of this._comms) {
      if (!comm.isDisposed) {
        comm.send(message);
      }
    }
  }

  private _become(routed: Routed, reason = ''): void {
    this._routed = routed;
    this._reason = reason;
    this._changed.emit();
  }

  private _kernel: Kernel.IKernelConnection | null = null;
  private _comms: Kernel.IComm[] = [];
  private _routed: Routed = 'no_kernel';
  private _reason = '';
  private _drawsLines = false;
  private readonly _changed = new Signal<IConversation, void>(this);
  private readonly _cellRan = new Signal<IConversation, ICellCalls>(this);
}
