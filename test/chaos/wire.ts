/** HTTP of one client: connections of its own that are kept, and messages as they come, whatever the form of the answer. */
import assert from 'node:assert/strict';
import { Agent, type IncomingMessage, type OutgoingHttpHeaders, request } from 'node:http';
import { setImmediate as turn } from 'node:timers/promises';

export interface Message {
  readonly id?: unknown;
  readonly method?: string;
  readonly params?: {
    readonly progressToken?: unknown;
    readonly progress?: number;
    readonly uri?: string;
    readonly marker?: string;
    readonly notifications?: { readonly resourceSubscriptions?: readonly string[] };
    readonly _meta?: Readonly<Record<string, unknown>>;
  };
  readonly result?: Result;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: { reason?: string } };
}

/** Of any request, in either era. */
export interface Result {
  readonly content?: readonly { readonly text?: string }[];
  readonly resultType?: string;
  readonly supportedVersions?: readonly string[];
  readonly inputRequests?: Readonly<Record<string, Question>>;
  readonly requestState?: string;
  readonly _meta?: Readonly<Record<string, unknown>>;
}

export interface Question {
  readonly method: string;
  readonly params?: { readonly message?: string };
}

export interface Event {
  readonly id: string | undefined;
  readonly message: Message | undefined;
}

/**
 * Over a connection that had served before, without a byte of an answer: in the moment in which the other end let go of it.
 * RFC 9112 §9.5: no server can rule that out.
 */
export class HungUp extends Error {}

/** Nothing takes as long: neither a call nor what may delay it. */
const SILENCE_MS = 60_000;

export class Wire implements Disposable {
  readonly agent = new Agent({ keepAlive: true });
  readonly #origin: string;
  readonly #address: string;

  /** `address`: where the client calls from, as a proxy would say. */
  constructor(origin: string, address: string) {
    this.#origin = origin;
    this.#address = address;
  }

  async send(
    method: string,
    path: string,
    headers: OutgoingHttpHeaders,
    body?: string,
    signal?: AbortSignal,
  ): Promise<IncomingMessage> {
    // As good clients and proxies do, we look whether a kept connection was ended before we use it.
    await turn();
    await turn();
    return new Promise((resolve, reject) => {
      const sent = request(
        new URL(path, this.#origin),
        {
          method,
          agent: this.agent,
          timeout: SILENCE_MS,
          ...(signal && { signal }),
          headers: { ...headers, 'X-Forwarded-For': this.#address },
        },
        resolve,
      );
      sent.once('timeout', () => sent.destroy(new Error(`silence for ${SILENCE_MS} ms`)));
      sent.once('error', (error) => reject(sent.reusedSocket ? new HungUp(error.message) : error));
      sent.end(body);
    });
  }

  [Symbol.dispose](): void {
    this.agent.destroy();
  }
}

export async function textOf(response: IncomingMessage): Promise<string> {
  let text = '';
  response.setEncoding('utf8');
  for await (const chunk of response) text += chunk;
  return text;
}

/** A JSON answer is one event without an id. */
export async function* eventsOf(response: IncomingMessage): AsyncGenerator<Event, undefined> {
  if (!response.headers['content-type']?.startsWith('text/event-stream')) {
    const text = await textOf(response);
    if (text !== '') yield { id: undefined, message: JSON.parse(text) };
    return;
  }
  let text = '';
  response.setEncoding('utf8');
  for await (const chunk of response) {
    text += chunk;
    const events = text.split('\n\n');
    text = events.pop() ?? '';
    for (const event of events) {
      const fields = new Map(
        event.split('\n').map((line) => [line.split(':')[0], line.replace(/^\w*: ?/, '')]),
      );
      const data = fields.get('data');
      if (fields.has('id') || data)
        yield { id: fields.get('id'), message: data ? JSON.parse(data) : undefined };
    }
  }
  assert.equal(text.trim(), '', 'a stream that ends in the middle of an event');
}
