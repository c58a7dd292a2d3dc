// Calls as they happen: one open stream while the page is visible, tried again after ever longer pauses.

import type { ServerConnection } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import { events } from './events';
import { open } from './request';
import type { ICall } from './tokens';

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 60_000;

/** Hears calls until it is disposed. `told` gets each; `connected` hears whether calls come. */
export class Live implements IDisposable {
  constructor(
    private readonly _settings: ServerConnection.ISettings,
    private readonly _told: (call: ICall) => void,
    private readonly _connected: (is: boolean) => void
  ) {}

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Begin to hear, unless it does already. */
  start(): void {
    if (this._abort === null && !this._isDisposed) {
      this._abort = new AbortController();
      void this._run(this._abort.signal);
    }
  }

  /** Hear no more, until it is started again. */
  stop(): void {
    this._abort?.abort();
    this._abort = null;
  }

  dispose(): void {
    this._isDisposed = true;
    this.stop();
  }

  private async _run(signal: AbortSignal): Promise<void> {
    let pause = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      try {
        const headers = { Accept: 'text/event-stream' };
        const response = await open(this._settings, 'api/live', { signal, headers });
        const type = response.headers.get('Content-Type') ?? '';
        if (response.body !== null && type.startsWith('text/event-stream')) {
          this._connected(true);
          for await (const event of events(response.body)) {
            pause = FIRST_PAUSE_MS;
            if (event.type === 'call') {
              this._told(JSON.parse(event.data) as ICall);
            }
          }
        }
      } catch {
        // An older proxy, or one that is down: the regular look tells the user; here it is tried again.
      }
      if (!signal.aborted) {
        this._connected(false);
        await rest(pause * (0.5 + Math.random() / 2), signal);
        pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
      }
    }
  }

  private _abort: AbortController | null = null;
  private _isDisposed = false;
}

function rest(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      window.clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = window.setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });
}
