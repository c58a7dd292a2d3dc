// Asking the server extension. What fails is a `Failure` with a sentence and, mostly, what to do.

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

/** An answer other than the one that was hoped for. */
export class Failure extends Error {
  constructor(
    readonly status: number, // 0: Jupyter itself did not answer
    readonly code: string,
    message: string,
    readonly hint: string
  ) {
    super(message);
  }
}

/** Ask and return the open response; throws `Failure` for all but a good status. */
export async function open(
  settings: ServerConnection.ISettings,
  path: string,
  init: RequestInit = {}
): Promise<Response> {
  const url = URLExt.join(settings.baseUrl, 'ultimate-proxy', path);
  let response: Response;
  try {
    response = await ServerConnection.makeRequest(url, init, settings);
  } catch (error) {
    throw new Failure(0, 'jupyter_away', 'Jupyter does not answer.', String(error));
  }
  if (response.ok) {
    return response;
  }
  const told = await response.json().catch(() => null);
  const error = told?.error;
  if (typeof error?.message === 'string') {
    throw new Failure(response.status, String(error.code), error.message, String(error.hint ?? ''));
  }
  throw new Failure(response.status, 'no_server_part', `Status ${response.status}`, '');
}

/** Ask and return the answer's JSON; throws `Failure`. */
export async function ask<T>(
  settings: ServerConnection.ISettings,
  path: string,
  init: RequestInit = {}
): Promise<T> {
  const response = await open(settings, path, init);
  try {
    return (await response.json()) as T;
  } catch (error) {
    throw new Failure(response.status, 'not_json', 'The answer could not be read.', String(error));
  }
}

/** Return a query string; a list repeats its name. */
export function query(names: Record<string, string | number | string[]>): string {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(names)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      pairs.append(name, String(one));
    }
  }
  return `?${pairs}`;
}
