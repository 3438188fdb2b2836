/**
 * One child of a legacy server that modern requests share, and what of them is in flight there. It hears what the child
 * says to nobody in particular, and finds out whom that is for.
 */
import { destinationOf, type Greeting, readGreeting, type ServerSide } from '../mcp/legacy-to-modern.js';
import { type LogLevel, levelOf, mostVerbose } from '../mcp/log-levels.js';
import { type NotificationMessage, type RequestMessage, rawAt, readMessage } from '../mcp/message.js';
import { toLegacyRequest } from '../mcp/modern-to-legacy.js';
import { errorAnswer, type RpcError } from '../mcp/protocol.js';
import { objectsIn } from '../mcp/raw-json.js';
import { Attribution } from './attribution.js';
import { type Drain, type Exchange, together } from './calls.js';
import { clientSilent, noCallToAsk } from './failures.js';
import { InFlight } from './in-flight.js';
import { type Child, ModernExchange } from './modern-exchange.js';
import type { Session } from './session.js';
import type { Ear } from './shared.js';

/** Those to whom all lanes of a client belong. */
export interface Client {
  /** Whether it has to stay for somebody who listens to what changes at the server. */
  isHeardBy(lane: Lane): boolean;
  /** A child has said who it is. */
  greeted(answer: Buffer): void;
  changed(message: NotificationMessage): Drain;
  /** Questions may be about any of several requests. */
  puzzled(): void;
  /** A lane may have room for another request. */
  released(): void;
  hangUp(): void;
  closed(lane: Lane): void;
  /** How long a cacheable result of the server may be kept. */
  readonly ttlMs: number;
}

export class Lane implements Ear, Child {
  readonly #client: Client;
  /** Those first to whom the child was set longest ago. */
  readonly #inFlight = new InFlight<ModernExchange>();
  readonly #attribution = new Attribution<ModernExchange>();
  #session: Session | undefined;
  #greeting: Greeting | undefined;
  #level: LogLevel | undefined;

  constructor(client: Client) {
    this.#client = client;
  }

  /** The session it is the ear of. */
  attach(session: Session): this {
    this.#session = session;
    return this;
  }

  get session(): Session | undefined {
    return this.#session;
  }

  get isHeard(): boolean {
    return this.#client.isHeardBy(this);
  }

  get side(): ServerSide {
    return { serverInfo: this.#greeting?.serverInfo, ttlMs: this.#client.ttlMs };
  }

  /** By requests that a question may be about: the child works on one, or all that it has wait for their clients. */
  get use(): 'none' | 'parked' | 'at work' {
    const calls = this.#inFlight.values();
    if (calls.some(({ mayAsk }) => mayAsk)) return 'at work';
    return calls.some(({ waitsForClient }) => waitsForClient) ? 'parked' : 'none';
  }

  /** Gives a request to the child; what is returned is for a client that goes away. */
  carry(exchange: ModernExchange): (why?: string) => void {
    const { request } = exchange;
    exchange.place = this.#inFlight.add(exchange);
    if (request.envelope.logLevel !== undefined) this.#setLevel();
    return this.#session?.request(toLegacyRequest(request), exchange) ?? (() => undefined);
  }

  answer(line: Buffer): void {
    const message = readMessage(line);
    if (message.kind === 'response') this.#session?.answer(message);
  }

  released(exchange: ModernExchange): void {
    if (!exchange.waitsForClient) this.#inFlight.remove(exchange.place);
    if (exchange.request.envelope.logLevel !== undefined) this.#setLevel();
    this.#client.released();
  }

  resumed(exchange: ModernExchange): void {
    if (this.#inFlight.remove(exchange.place)) exchange.place = this.#inFlight.add(exchange);
    if (exchange.request.envelope.logLevel !== undefined) this.#setLevel();
  }

  greeted(answer: Buffer): void {
    this.#greeting = readGreeting(answer);
    this.#client.greeted(answer);
  }

  ask(question: RequestMessage, calls: readonly Exchange[]): Drain {
    const ours = this.#inFlight.values().filter((call) => calls.includes(call));
    const { call, isCertain } = this.#attribution.attribute(question, ours);
    if (!isCertain) this.#client.puzzled();
    return call === undefined ? this.#refuse(question, noCallToAsk) : call.ask(question);
  }

  letGo(question: RequestMessage, exchange: ModernExchange): Drain {
    const next = this.#attribution.next(
      question,
      exchange,
      (call) => this.#inFlight.get(call.place) === call,
    );
    return next === undefined ? this.#refuse(question, clientSilent) : next.ask(question);
  }

  note(message: NotificationMessage, calls: readonly Exchange[]): Drain {
    if (message.method === 'notifications/cancelled') {
      for (const call of this.#ours(calls)) call.takeBack(message);
      return undefined;
    }
    switch (destinationOf(message)) {
      case 'request': {
        const level = levelOf(message);
        return together(this.#ours(calls).map((call) => call.log(message, level)));
      }
      case 'subscription':
        return this.#client.changed(message);
      case 'nowhere':
        return undefined;
    }
  }

  hangUp(): void {
    this.#client.hangUp();
  }

  closed(): void {
    this.#client.closed(this);
  }

  #refuse({ bytes, id }: RequestMessage, error: RpcError): undefined {
    this.answer(errorAnswer(rawAt(bytes, id), error));
  }

  #ours(calls: readonly Exchange[]): ModernExchange[] {
    return calls.filter((call) => call instanceof ModernExchange);
  }

  /** The child says as much as the most curious request wants; what others did not want is kept from them. */
  #setLevel(): void {
    const wanted = mostVerbose(this.#inFlight.values().map(({ request }) => request.envelope.logLevel));
    if (wanted === undefined || wanted === this.#level) return;
    const { logging } = objectsIn(this.#greeting?.capabilities ?? '{"logging":{}}', ['logging']);
    if (logging === undefined) return;
    this.#level = wanted;
    this.#session?.wish((wishes) => ({ ...wishes, logLevel: wanted }));
  }
}
