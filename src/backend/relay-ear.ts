/**
 * What the modern children of one grant say beside their answers, and who hears it: changes, the clients that subscribed
 * to them; log messages, the request that asked for them. A child that is new is asked what it is, for those who ask the
 * same while there is none.
 */
import type { Maybe } from '../base/maybe.js';
import type { Envelope, ModernRequest } from '../mcp/envelope.js';
import { levelOf, wants } from '../mcp/log-levels.js';
import {
  type NotificationMessage,
  type RequestMessage,
  type ResponseMessage,
  rawAt,
  readMessage,
  valueAt,
} from '../mcp/message.js';
import { OUR_ENVELOPE } from '../mcp/modern-child-greeting.js';
import { discoverRequest, membersOfEnvelope, withEnvelope } from '../mcp/modern-child-requests.js';
import type { ParamHeader } from '../mcp/param-headers.js';
import type { RpcError } from '../mcp/protocol.js';
import { relayed } from '../mcp/relayed-results.js';
import { isResult, refuse, silent } from './answers.js';
import type { Drain, Exchange, Heard } from './calls.js';
import { judge, mayBeItsClients } from './eras.js';
import * as failures from './failures.js';
import { Listens } from './listens.js';
import type { Life } from './lives.js';
import { RelayedCall } from './relayed-call.js';
import type { Session } from './session.js';
import type { SessionHost } from './session-host.js';
import type { Ear } from './shared.js';
import { ToolHeaders } from './tool-headers.js';

const DISCOVER = '"fjmcp-discover"';
const TAKEN: Heard = { settled: false, drain: undefined };

/** It has no `ask`: a server writes no requests, and its client no responses (MCP 2026-07-28, basic/transports/stdio). */
export class RelayEar implements Ear {
  readonly #onClosed: () => void;
  readonly #listens = new Listens({
    write: (life, line) => this.#session?.write(life, line),
  });
  readonly #tools = new ToolHeaders((list) => this.#ask(list));
  #session: Session | undefined;
  #host: SessionHost | undefined;
  /** What the newest request said of its client. */
  #envelope: Envelope | undefined;
  /** The newest child, and in whose words it was asked what it is, until it has answered. */
  #asked: { readonly life: Life; readonly as: Asker } | undefined;

  constructor(onClosed: () => void) {
    this.#onClosed = onClosed;
  }

  /** Its session is made after it: first there is the host, then the session. */
  at(host: SessionHost): this {
    this.#host = host;
    return this;
  }

  attach(session: Session): this {
    this.#session = session;
    return this;
  }

  /** A client asks for something that is a call. What is returned is for a client that goes away. */
  call({ message, envelope }: ModernRequest, exchange: Exchange): () => void {
    this.#envelope = envelope;
    return this.#session?.request(message, exchange) ?? refuse(message, exchange, failures.sessionClosed);
  }

  /** A client subscribes. */
  listen({ message, envelope }: ModernRequest, exchange: Exchange): () => void {
    this.#envelope = envelope;
    const life = this.#session?.need() ?? failures.sessionClosed;
    return typeof life === 'number'
      ? this.#listens.open(message, exchange, life)
      : refuse(message, exchange, life);
  }

  /** The headers that repeat the arguments of a tool. */
  headersOf({ name, envelope }: ModernRequest): Maybe<readonly ParamHeader[]> {
    this.#envelope = envelope;
    return name === undefined ? [] : this.#tools.of(name);
  }

  /** The answer to a client's `tools/list`: the newest there is. Later pages go with an earlier one. */
  listed({ message }: ModernRequest, answer: Buffer): void {
    if (valueAt(message.bytes, ['params', 'cursor']) !== undefined) return;
    this.#tools.forget();
    this.#tools.overhear(message, answer);
  }

  /** What the server said it is to a client that said the same of itself, when there is no child to say it now. */
  known(envelope: Envelope): Buffer | undefined {
    const question = questionOf(envelope);
    if (this.#session === undefined || this.#session.state === 'live' || question === undefined)
      return undefined;
    return this.#host?.knownAnswer(this.#session, question);
  }

  /** What a child said it is. */
  remember(envelope: Envelope, answer: Buffer): void {
    const question = questionOf(envelope);
    if (this.#session === undefined || question === undefined || !isResult(answer)) return;
    this.#host?.greeted(this.#session, question, answer);
  }

  /** Asks the child something of our own, as the client that asked last. */
  #ask({ bytes, params }: RequestMessage): Promise<Buffer | undefined> {
    return new Promise((resolve) => {
      const message =
        this.#envelope && readMessage(withEnvelope(bytes, params, membersOfEnvelope(this.#envelope)));
      if (this.#session === undefined || message?.kind !== 'request') resolve(undefined);
      else this.#session.request(message, silent(resolve));
    });
  }

  get isHeard(): boolean {
    return this.#listens.size > 0;
  }

  started(life: Life, write: (line: Buffer) => void): void {
    this.#asked = this.#envelope && { life, as: this.#envelope };
    if (this.#envelope !== undefined) write(discoverLine(this.#envelope));
    this.#listens.greet(life, write);
    this.#tools.renew();
  }

  first(message: ResponseMessage | NotificationMessage): Heard | undefined {
    if (message.kind === 'notification') {
      if (message.method === 'notifications/tools/list_changed') this.#tools.forget();
      return this.#listens.note(message);
    }
    if (rawAt(message.bytes, message.id) !== DISCOVER)
      return this.#listens.answer(message) ? TAKEN : undefined;
    const asked = this.#asked;
    this.#asked = undefined;
    if (asked !== undefined) this.#introduced(asked.life, asked.as, message.bytes);
    return TAKEN;
  }

  /**
   * A new child has said what it is. One that does not know what it is asked is no modern server (any more), unless it is
   * the words of a client that it refuses: then it is asked in ours, and the client will hear the reason for itself.
   */
  #introduced(life: Life, as: Asker, answer: Buffer): void {
    if (this.#session === undefined) return;
    if (judge(answer)?.era === 'modern') {
      if (as !== 'ourselves') this.remember(as, relayed('server/discover', answer));
      return;
    }
    const question = questionOf(as);
    if (question !== undefined) this.#host?.greetingFailed(this.#session, question, answer);
    if (as !== 'ourselves' && mayBeItsClients(answer)) {
      this.#asked = { life, as: 'ourselves' };
      this.#session.write(life, discoverLine('ourselves'));
    } else this.#session.close(failures.eraChanged);
  }

  /**
   * MCP 2026-07-28, server/utilities/logging: a message leaves on the stream of the request that asked for it. On stdio
   * nothing says which that is: of those that asked for its level, it is taken for the newest. What nobody asked for is
   * not heard.
   */
  note(message: NotificationMessage, calls: readonly Exchange[]): Drain {
    if (message.method !== 'notifications/message') return undefined;
    const level = levelOf(message);
    const asked = calls.findLast((call) => call instanceof RelayedCall && wants(call.logLevel, level));
    return asked?.streams === true ? asked.send(message.bytes) : undefined;
  }

  lost(life: Life, error: RpcError): void {
    this.#listens.lose(life, error);
    // Nothing more is to be heard here; who listens may listen anew, where the other era is served.
    if (error === failures.eraChanged) queueMicrotask(() => this.#session?.close(error));
  }

  /** What it is told is told to children with a handshake. */
  greeted(): void {}

  hangUp(): void {
    this.#listens.close(failures.stopping);
  }

  closed(): void {
    this.#listens.close(failures.sessionClosed);
    this.#onClosed();
  }
}

type Asker = Envelope | 'ourselves';

/** By which answers are found again: who asks, whatever else it says. */
function questionOf(asker: Asker): RequestMessage | undefined {
  const line = discoverLine(asker);
  const message = readMessage(line.subarray(0, line.length - 1));
  return message.kind === 'request' ? message : undefined;
}

const discoverLine = (asker: Asker): Buffer =>
  discoverRequest(DISCOVER, asker === 'ourselves' ? OUR_ENVELOPE : membersOfEnvelope(asker));
