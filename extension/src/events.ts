// Server-sent events over fetch: EventSource can carry neither Jupyter's token nor a reason for a refusal.

/** One event of a stream. */
export interface IEvent {
  readonly type: string;
  readonly data: string;
}

/** Return the events of a response as they come; ends when the stream does. https://html.spec.whatwg.org/#parsing-an-event-stream */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<IEvent> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  let type = '';
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      const lines = (rest + decoder.decode(value, { stream: true })).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line === '') {
          if (data.length > 0) {
            yield { type: type || 'message', data: data.join('\n') };
          }
          [type, data] = ['', []];
        } else if (line.startsWith('event:')) {
          type = line.slice(6).trimStart();
        } else if (line.startsWith('data:')) {
          data.push(line.slice(5).replace(/^ /, ''));
        }
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined); // it may be broken already, which is why we are here
  }
}
