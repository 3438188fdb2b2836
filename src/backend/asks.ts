/**
 * The child's requests to the client (sampling, elicitation, roots, ping): each goes out under a fresh integer, so that
 * an answer to a child that is gone can never reach its successor.
 */
import {
  lineOf,
  type NotificationMessage,
  type RawJson,
  type RequestMessage,
  type ResponseMessage,
  rawAt,
  splice,
} from '../mcp/message.js';
import { errorAnswer, type RpcError } from '../mcp/protocol.js';
import type { Life } from './lives.js';

interface Ask {
  /** The child that asked. */
  readonly life: Life;
  /** The id the child gave it. */
  readonly id: RawJson;
  readonly token: RawJson | undefined;
  readonly deadline: number;
}

/** A line for one child. */
export interface Word {
  readonly life: Life;
  readonly line: Buffer;
}

/** A child that asks without end and gets no answer loses its oldest questions. */
const MAX_ASKS = 1000;

export class Asks {
  readonly #asks = new Map<number, Ask>();
  /** The newest question of a child under an id of its own: what it takes back is not searched for. */
  readonly #keys = new Map<string, number>();
  #lastKey = 0;

  /** The request as the client sees it. */
  add({ bytes, id, token }: RequestMessage, life: Life, deadline: number): Buffer {
    if (this.#asks.size >= MAX_ASKS) this.#remove(this.#asks.keys().next().value ?? 0);
    this.#lastKey += 1;
    const raw = `${this.#lastKey}`;
    const ask = { life, id: rawAt(bytes, id), token: token && rawAt(bytes, token), deadline };
    this.#asks.set(this.#lastKey, ask);
    this.#keys.set(nameOf(ask), this.#lastKey);
    return splice(
      bytes,
      token === undefined
        ? [{ at: id, raw }]
        : [
            { at: id, raw },
            { at: token, raw },
          ],
    );
  }

  /** The line that answers the child, or undefined when it did not ask (or its time was up). */
  settle({ bytes, id }: ResponseMessage): Word | undefined {
    const key = Number(rawAt(bytes, id));
    const ask = this.#remove(key);
    if (ask === undefined) return undefined;
    return { life: ask.life, line: lineOf(bytes, [{ at: id, raw: ask.id }]) };
  }

  /** The client's progress on a request of the child, as the child knows it. */
  progress({ bytes, subject }: NotificationMessage): Word | undefined {
    const ask = subject && this.#asks.get(Number(rawAt(bytes, subject)));
    if (ask?.token === undefined || subject === undefined) return undefined;
    return { life: ask.life, line: lineOf(bytes, [{ at: subject, raw: ask.token }]) };
  }

  /** The child takes a request back: the notification as the client knows it. */
  cancel({ bytes, subject }: NotificationMessage, life: Life): Buffer | undefined {
    if (subject === undefined) return undefined;
    const key = this.#keys.get(nameOf({ life, id: rawAt(bytes, subject) }));
    if (key === undefined) return undefined;
    this.#remove(key);
    return splice(bytes, [{ at: subject, raw: `${key}` }]);
  }

  /** What tells a child that nobody will answer. */
  expire(now: number, error: RpcError): Word[] {
    const overdue = [...this.#asks].filter(([, { deadline }]) => deadline <= now);
    for (const [key] of overdue) this.#remove(key);
    return overdue.map(([, { life, id }]) => ({ life, line: lineOf(errorAnswer(id, error)) }));
  }

  forget(life: Life): void {
    for (const [key, ask] of this.#asks) if (ask.life === life) this.#remove(key);
  }

  #remove(key: number): Ask | undefined {
    const ask = this.#asks.get(key);
    if (ask === undefined) return undefined;
    this.#asks.delete(key);
    const name = nameOf(ask);
    if (this.#keys.get(name) === key) this.#keys.delete(name);
    return ask;
  }
}

const nameOf = ({ life, id }: Pick<Ask, 'life' | 'id'>): string => `${life} ${id}`;
