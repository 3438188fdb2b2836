/** One MCP session as a client keeps it, and what it checks of every answer. */
import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Chance } from './chance.js';
import type { Entry, Ledger } from './ledger.js';
import type { User } from './load.js';
import { type Event, eventsOf, type Message, textOf } from './wire.js';
import { leaveAlone, newMarker, wrongIn } from './words.js';

interface Call {
  readonly ms?: number;
  readonly bytes?: number;
  readonly progress?: boolean;
  /** What the client does before the answer: `leave` for good, or `return` over another connection. */
  readonly early?: 'leave' | 'return';
}

const WEIGHTS = { echo: 60, whoami: 12, slow: 10, progress: 8, large: 5, return: 4, leave: 2 } as const;
const PROTOCOL = '2025-11-25';
const MCP = {
  'Content-Type': 'application/json',
  Accept: 'application/json, text/event-stream',
  'MCP-Protocol-Version': PROTOCOL,
};
const RECONNECT_MS = 1000;

export class Conversation {
  readonly name: string;
  readonly id: string;
  readonly user: User;
  readonly #ledger: Ledger;
  /** Some clients send `id: 1` for parallel calls. */
  readonly #reusesIds: boolean;
  #lastId = 0;

  private constructor(user: User, name: string, id: string) {
    this.user = user;
    this.#ledger = user.options.ledger;
    this.name = name;
    this.id = id;
    this.#reusesIds = user.options.chance.is(0.5);
  }

  static async open(user: User, name: string): Promise<Conversation> {
    const session = await Conversation.tryToOpen(user, name);
    assert.ok(session, `no session for ${name}`);
    return session;
  }

  static async tryToOpen(user: User, name: string): Promise<Conversation | undefined> {
    const params = {
      protocolVersion: PROTOCOL,
      capabilities: {},
      clientInfo: { name: 'chaos', version: '1' },
    };
    const body = JSON.stringify({ jsonrpc: '2.0', id: 0, method: 'initialize', params });
    const draft = new Conversation(user, name, '');
    const entry = draft.#ledger.call(`initialize of ${name}`);
    try {
      const response = await draft.#send('POST', body);
      const id = response.headers['mcp-session-id'];
      const answer = await answerIn(eventsOf(response), 0, () => undefined);
      if (answer?.error !== undefined) {
        entry.failed(reasonOf(answer, response));
        return undefined;
      }
      if (answer === undefined || typeof id !== 'string') {
        entry.breach('an initialize without an answer', `${response.statusCode}`);
        return undefined;
      }
      entry.answered(false);
      return new Conversation(user, name, id);
    } catch (error) {
      entry.refused(error);
      return undefined;
    }
  }

  async callAnything(chance: Chance): Promise<void> {
    const kind = chance.weighted(WEIGHTS);
    const calls: Readonly<Record<typeof kind, () => Call>> = {
      echo: () => ({}),
      whoami: () => ({}),
      slow: () => ({ ms: chance.between(200, 2500) }),
      progress: () => ({ ms: chance.between(200, 2000), progress: true }),
      large: () => ({ bytes: chance.between(50_000, 1_000_000) }),
      return: () => ({ ms: chance.between(800, 2000), progress: true, early: 'return' }),
      leave: () => ({ ms: chance.between(800, 2000), progress: true, early: 'leave' }),
    };
    await this.call(kind, calls[kind]());
  }

  /** Whether it was answered by the server. */
  async call(kind: string, { ms, bytes, progress, early }: Call): Promise<boolean> {
    const marker = newMarker(this.name);
    this.#lastId += this.#reusesIds ? 0 : 1;
    const id = this.#lastId;
    const _meta = progress ? { progressToken: marker } : undefined;
    const params = { name: kind, arguments: { marker, ms, bytes }, _meta };
    const body = JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params });
    const entry = this.#ledger.call(`${kind} ${marker}`);
    try {
      let response = await this.#send('POST', body);
      let events = eventsOf(response);
      if (early !== undefined) {
        const seen = await firstId(events);
        // It was answered with JSON at once: there is nothing to leave.
        if (seen.id === undefined) return this.#judge(entry, kind, marker, bytes, seen.message, response);
        if (early === 'leave') leaveAlone(marker);
        response.destroy();
        if (early === 'leave') {
          entry.abandoned();
          return false;
        }
        await sleep(this.user.options.chance.between(50, 800));
        response = await this.#send('GET', undefined, { 'Last-Event-ID': seen.id });
        if (response.statusCode === 204) {
          entry.lost();
          return false;
        }
        events = eventsOf(response);
      }
      const answer = await answerIn(events, id, (message) => this.#checkProgress(marker, message));
      return this.#judge(entry, kind, marker, bytes, answer, response);
    } catch (error) {
      entry.refused(error);
      return false;
    }
  }

  #checkProgress(marker: string, { method, params }: Message): void {
    if (method !== 'notifications/progress' || params?.progressToken === marker) return;
    this.#ledger.breach('CROSS-TALK: progress of another call', `${marker} heard ${JSON.stringify(params)}`);
  }

  #judge(
    entry: Entry,
    kind: string,
    marker: string,
    bytes: number | undefined,
    answer: Message | undefined,
    response: IncomingMessage,
  ): boolean {
    const { statusCode } = response;
    if (statusCode === 404) entry.breach('a session that was lost (404)', this.id);
    else if (statusCode === 401) entry.breach('a call refused for good (401)');
    else if (answer?.error !== undefined) entry.failed(reasonOf(answer, response));
    else if (answer === undefined) entry.refused(`it ended without an answer (${statusCode})`);
    else {
      const wrong = wrongIn(answer, this, marker, bytes);
      if (wrong !== undefined) entry.breach(...wrong);
      else entry.answered(kind === 'echo');
      return wrong === undefined;
    }
    return false;
  }

  /** The standing stream; opened again whenever it ends. */
  async keepListening(stop: AbortSignal): Promise<void> {
    let seen: string | undefined;
    while (!stop.aborted) {
      const startedAt = Date.now();
      try {
        const response = await this.#send(
          'GET',
          undefined,
          seen === undefined ? {} : { 'Last-Event-ID': seen },
        );
        const isEnding = response.statusCode === 503 && this.#ledger.had(['restart'], startedAt);
        if (response.statusCode !== 200 && !isEnding)
          this.#ledger.breach('a standing stream that was refused', `${this.name}: ${response.statusCode}`);
        this.#ledger.count('standing streams opened');
        const leave = () => response.destroy();
        stop.addEventListener('abort', leave, { once: true });
        if (stop.aborted) leave();
        for await (const { id } of eventsOf(response)) seen = id ?? seen;
        stop.removeEventListener('abort', leave);
      } catch (error) {
        if (!stop.aborted && !this.#ledger.had(['kill9', 'restart'], startedAt))
          this.#ledger.breach('a standing stream that broke', `${this.name}: ${error}`);
      }
      await sleep(RECONNECT_MS, undefined, { signal: stop }).catch(() => undefined);
    }
  }

  async end(): Promise<void> {
    const startedAt = Date.now();
    try {
      const response = await this.#send('DELETE');
      await textOf(response);
      const fine = response.statusCode === 204 || this.#ledger.had(['disk', 'restart'], startedAt);
      if (!fine)
        this.#ledger.breach('a session that could not be ended', `${this.name}: ${response.statusCode}`);
    } catch (error) {
      if (!this.#ledger.had(['kill9', 'restart'], startedAt))
        this.#ledger.breach('a session that could not be ended', `${this.name}: ${error}`);
    }
  }

  #send(
    method: string,
    body?: string,
    more: Readonly<Record<string, string>> = {},
  ): Promise<IncomingMessage> {
    const headers = {
      ...MCP,
      ...(method === 'GET' ? { Accept: 'text/event-stream' } : {}),
      ...(this.id === '' ? {} : { 'Mcp-Session-Id': this.id }),
      ...more,
    };
    return this.user.send(method, headers, body);
  }
}

export function reasonOf({ error }: Message, { statusCode }: IncomingMessage): string {
  return error?.data?.reason ?? (statusCode === 200 ? `code ${error?.code}` : `http ${statusCode}`);
}

/** The answer to `id`; what else comes is shown to `other`. */
async function answerIn(
  events: AsyncGenerator<Event, undefined>,
  id: number,
  other: (message: Message) => void,
): Promise<Message | undefined> {
  for await (const { message } of events) {
    if (message === undefined) continue;
    if (message.method === undefined && (message.id === id || message.id === null)) return message;
    other(message);
  }
  return undefined;
}

/** The first event with an id, or else the whole answer. */
async function firstId(events: AsyncGenerator<Event, undefined>): Promise<Event> {
  const { value, done } = await events.next();
  return done || value === undefined ? { id: undefined, message: undefined } : value;
}
