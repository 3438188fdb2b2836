/**
 * The `subscriptions/listen` stream of a modern client, opened again whenever it ends: it ends with a result when the broker
 * stops, breaks when the broker is killed, and otherwise lasts, whatever becomes of the children.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { META } from '../../src/mcp/protocol.js';
import { reasonOf } from './conversation.js';
import type { Entry, Ledger } from './ledger.js';
import type { ModernClient } from './modern.js';
import { eventsOf, type Message } from './wire.js';

const RECONNECT_MS = 1000;
/** From the answer to the call that changed a resource. */
const NEWS_MS = 3000;

/** A stream from its acknowledgment to its end. */
interface Moment {
  /** The calls whose changes were heard of. */
  readonly heard: Set<string>;
}

export class Listening {
  readonly #client: ModernClient;
  readonly #ledger: Ledger;
  readonly #uri: string;
  #moment: Moment | undefined;

  constructor(client: ModernClient, ledger: Ledger) {
    this.#client = client;
    this.#ledger = ledger;
    this.#uri = `chaos://${client.name}`;
  }

  /** The stream that is open now. */
  get moment(): Moment | undefined {
    return this.#moment;
  }

  async keep(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      await this.#listen(stop);
      await sleep(RECONNECT_MS, undefined, { signal: stop }).catch(() => undefined);
    }
  }

  /** A call changed what we listen to: if the same stream was open all the time, it was heard of there. */
  async check(before: Moment | undefined, marker: string, watched: readonly string[]): Promise<void> {
    const isOpen = () => before !== undefined && before === this.#moment;
    if (!isOpen()) return;
    if (!watched.includes(this.#uri)) {
      this.#ledger.breach('a child that does not watch what is listened to', `${marker}: ${watched}`);
      return;
    }
    for (const end = Date.now() + NEWS_MS; isOpen() && Date.now() < end; await sleep(20))
      if (before?.heard.has(marker)) return this.#ledger.count('changes heard of');
    if (isOpen()) this.#ledger.breach('a change that was not heard of', marker);
  }

  async #listen(stop: AbortSignal): Promise<void> {
    const { name } = this.#client;
    const startedAt = Date.now();
    const entry = this.#ledger.call(`subscriptions/listen of ${name}`, 'modern');
    const id = this.#client.newId();
    const params = { notifications: { resourceSubscriptions: [this.#uri] } };
    let isAcknowledged = false;
    let end: Message | undefined;
    try {
      const response = await this.#client.post('subscriptions/listen', params, id, { signal: stop });
      for await (const { message } of eventsOf(response)) {
        if (message === undefined) continue;
        if (end !== undefined) this.#breach('something after the end of a subscription', message);
        if (message.method === undefined) {
          end = message;
          this.#moment = undefined;
        } else if (isAcknowledged) this.#hear(message, id);
        else isAcknowledged = this.#begin(entry, message, id);
      }
      if (end?.error !== undefined && !isAcknowledged) entry.failed(reasonOf(end, response));
      else if (!isAcknowledged)
        entry.refused(`a subscription without acknowledgment (${response.statusCode})`);
      else this.#checkEnd(end, id, startedAt);
    } catch (error) {
      if (!isAcknowledged && stop.aborted) entry.abandoned();
      else if (!isAcknowledged) entry.refused(error);
      else if (!stop.aborted && !this.#ledger.had(['kill9'], startedAt))
        this.#ledger.breach('a subscription that broke', `${name}: ${error}`);
    } finally {
      this.#moment = undefined;
    }
  }

  #begin(entry: Entry, message: Message, id: unknown): true {
    const { method, params } = message;
    const isRight =
      method === 'notifications/subscriptions/acknowledged' &&
      params?._meta?.[META.subscriptionId] === id &&
      params?.notifications?.resourceSubscriptions?.join() === this.#uri;
    if (isRight) entry.answered(false);
    else entry.breach('a subscription that begins with something else', JSON.stringify(message));
    this.#ledger.count('subscriptions opened');
    this.#moment = { heard: new Set() };
    return true;
  }

  #hear(message: Message, id: unknown): void {
    const { method, params } = message;
    if (method !== 'notifications/resources/updated' || params?.uri !== this.#uri)
      this.#breach('CROSS-TALK: a change that was not listened to', message);
    else if (params._meta?.[META.subscriptionId] !== id)
      this.#breach('a change under the id of another subscription', message);
    else this.#moment?.heard.add(params.marker ?? '');
  }

  #checkEnd(end: Message | undefined, id: unknown, startedAt: number): void {
    const isDue = end?.id === id && end?.result?.resultType === 'complete';
    if (!isDue) this.#ledger.breach('a subscription that ended without a result', this.#client.name);
    else if (!this.#ledger.had(['restart'], startedAt))
      this.#ledger.breach('a subscription ended without need', this.#client.name);
  }

  #breach(what: string, message: Message): void {
    this.#ledger.breach(what, `${this.#client.name}: ${JSON.stringify(message)}`);
  }
}
