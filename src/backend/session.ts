/**
 * One MCP conversation: what it has settled, and what is in flight. It outlives its children: one that crashed, fell
 * asleep or whose token runs out is replaced by telling the next what was settled. A call is never repeated.
 */
import { MINUTE } from '../base/clock.js';
import type { Caller, SessionId } from '../base/ids.js';
import { describeError } from '../base/log.js';
import {
  lineOf,
  type NotificationMessage,
  type RawJson,
  type RequestMessage,
  type ResponseMessage,
  rawAt,
} from '../mcp/message.js';
import { errorAnswer, notification, type RpcError, resultAnswer } from '../mcp/protocol.js';
import { isResult, refuse, silent, underId } from './answers.js';
import type { Exchange } from './calls.js';
import { Children, type Link } from './children.js';
import { Dialogue } from './dialogue.js';
import * as failures from './failures.js';
import { agree, asRequest, type Handshake, mayBeAsked, recall, underOurId } from './handshake.js';
import type { Life, LifeState } from './lives.js';
import type { CallOutcome } from './observer.js';
import type { Stream } from './outbox.js';
import type { SessionHost } from './session-host.js';
import type { SessionRecord, SessionWishes } from './session-store.js';
import type { Shared } from './shared.js';
import { lead, NO_WISHES, wishOf } from './wishes.js';

/** A conversation that has begun, but of which the client has not heard yet. */
interface Opening {
  readonly id: RawJson;
  /** The client's `initialize`, under an id of ours. */
  readonly initialize: RequestMessage;
  readonly exchange: Exchange;
  /** What the child said to it. */
  answer: Buffer | undefined;
}

/** Who said nothing for this long gets a new child only when asking for one. */
const RECENT_MS = MINUTE;
const MAX_CALLS = 1000;
const INITIALIZED = lineOf(notification('notifications/initialized'));

export class Session {
  readonly id: SessionId;
  readonly caller: Caller;
  readonly server: string;
  readonly #host: SessionHost;
  readonly #dialogue: Dialogue;
  readonly #children: Children;
  #handshake: Handshake | undefined;
  #wishes: SessionWishes;
  /** What each child knows of them. */
  readonly #told = new Map<Life, SessionWishes>();
  #opening: Opening | undefined;
  readonly #shared: Shared | undefined;
  /** Who waits to hear how a child of a shared session answers its greeting. */
  #curious: ((greeting: Buffer | RpcError) => void)[] = [];
  #greetingAnswer: Buffer | undefined;
  #seenAt: number;
  /** When the child was last given, or gave, something to do. */
  #workedAt: number;

  /** `from` is what it is made from: a record, or what makes it a session without a client of its own. */
  constructor(
    id: SessionId,
    caller: Caller,
    server: string,
    host: SessionHost,
    from?: SessionRecord | Shared,
  ) {
    const shared = from !== undefined && 'ear' in from ? from : undefined;
    const record = from !== undefined && 'ear' in from ? undefined : from;
    this.id = id;
    this.caller = caller;
    this.server = server;
    this.#host = host;
    this.#shared = shared;
    this.#handshake = record && recall(record.initialize);
    this.#wishes = record ?? NO_WISHES;
    this.#seenAt = record?.seenAt ?? host.now();
    this.#workedAt = host.now();
    this.#dialogue = new Dialogue({
      write: (life, line) => this.write(life, line),
      withdraw: (life, key) => this.#children.withdraw(life, key),
      serving: () => this.#children.serving,
      now: host.now,
      requestMs: host.requestMs,
      canAsk: (method) => mayBeAsked(method, this.#handshake),
      onCallEnd: (outcome, exchange) => this.#callEnded(outcome, exchange),
      ear: shared?.ear,
      log: host.log,
    });
    this.#children = new Children({
      now: host.now,
      log: host.log,
      maxQueuedLines: MAX_CALLS,
      maxQueuedBytes: host.maxQueuedBytes,
      launch: (before, events) => host.launch(this, before, events),
      greet: (life, child) => this.#greet(life, child),
      hear: (life, line, about) => {
        host.observer.bytes('from_child', line.length);
        return this.#dialogue.hear(life, line, about);
      },
      owes: (life) => this.#dialogue.owes(life),
      onServing: (startMs) => {
        host.observer.childStarted(server, startMs);
        void this.#welcome();
      },
      onLost: (life, error) => {
        this.#told.delete(life);
        this.#dialogue.lose(life, error);
        this.#turnAway(error);
        this.#satisfy(error);
      },
    });
  }

  /** Nobody gets its id, and no record of it is kept. */
  get isShared(): boolean {
    return this.#shared !== undefined;
  }

  /** Whether its child is to be talked to as it is, and in a modern way. */
  get isModern(): boolean {
    return this.#shared?.greeting === 'none';
  }

  get state(): LifeState['is'] {
    return this.#children.state;
  }

  /** When the client last said something; open streams do not count. */
  get seenAt(): number {
    return this.#seenAt;
  }

  /** Since when there was nothing to do, if there is nothing now. Open streams and pings are nothing to do. */
  get idleSince(): number {
    return this.#workedAt;
  }

  get callsInFlight(): number {
    return this.#dialogue.callsInFlight;
  }

  /** Those that wait for their child, and not for their client. */
  get callsAtWork(): number {
    return this.#dialogue.callsAtWork;
  }

  /** Whether more would be lost with it than its record can bring back. */
  get isInUse(): boolean {
    return this.#opening !== undefined || this.#children.count > 0 || this.#dialogue.isHeard;
  }

  get protocolVersion(): string | undefined {
    return this.#handshake?.version;
  }

  /** The first request of the conversation. Without a good answer to it there is no session. */
  initialize(message: RequestMessage, exchange: Exchange): () => void {
    const initialize = underOurId(message);
    const answer = this.#host.knownAnswer(this, initialize);
    const opening = { id: rawAt(message.bytes, message.id), initialize, exchange, answer };
    this.#opening = opening;
    this.#handshake = answer && agree(initialize, answer);
    if (this.#handshake !== undefined) void this.#welcome();
    else this.#children.need();
    // Nobody has learned the id.
    return () => {
      if (this.#opening === opening) this.close(failures.sessionClosed);
    };
  }

  /** What is returned is for a client that goes away before the answer. */
  request(message: RequestMessage, exchange: Exchange): (why?: string) => void {
    const now = this.#host.now();
    this.#seenAt = now;
    const wakes = this.state === 'dormant';
    if (message.method !== 'ping') this.#workedAt = now;
    else if (wakes) {
      void exchange.end(resultAnswer(rawAt(message.bytes, message.id), {}));
      return () => undefined;
    }
    const life = this.callsInFlight < MAX_CALLS ? this.#children.need() : failures.tooManyCalls;
    if (typeof life !== 'number') {
      this.#count('bridge_error');
      return refuse(message, exchange, life);
    }
    const watched = this.#watch(message, exchange, life, wakes ? now : undefined);
    const { key, line } = this.#dialogue.call(message, watched, life);
    if (this.write(life, line, key) === 'clogged') this.#dialogue.refuse(key, failures.childNotReading);
    return (why = 'the client disconnected') => this.#dialogue.giveUp(key, why);
  }

  /**
   * A notification starts no child: there is nothing it could be about. Each child is told at once that the handshake is
   * complete, for clients lose that notification on the way (another connection, no session id).
   */
  notify(message: NotificationMessage): void {
    this.#seenAt = this.#host.now();
    if (message.method !== 'notifications/initialized') this.#dialogue.notify(message);
  }

  answer(message: ResponseMessage): void {
    this.#seenAt = this.#host.now();
    this.#dialogue.answer(message);
  }

  /** What its child answered to the greeting of a shared session; one is started if there is none. */
  greeting(): Promise<Buffer | RpcError> {
    const life = this.need();
    if (this.#greetingAnswer !== undefined) return Promise.resolve(this.#greetingAnswer);
    if (typeof life !== 'number') return Promise.resolve(life);
    return new Promise((resolve) => this.#curious.push(resolve));
  }

  need(): Life | RpcError {
    this.#seenAt = this.#workedAt = this.#host.now();
    return this.#children.need();
  }

  /** Changes what each child is told, for a shared session: no child is started for it. */
  wish(change: (wishes: SessionWishes) => SessionWishes): void {
    this.#wishes = change(this.#wishes);
    const { serving } = this.#children;
    if (serving !== undefined) this.#tell(serving, (line) => this.write(serving, line));
  }

  /** Opens the standing stream; what is returned is for the client that leaves it. */
  listen(stream: Stream): () => void {
    this.#seenAt = this.#host.now();
    return this.#dialogue.listen(stream);
  }

  /** Ends the standing stream; its client may open another. */
  hangUp(): void {
    this.#dialogue.hangUp();
  }

  /** Ends what is overdue, replaces what is about to end. The registry calls it about once a second. */
  tick(now: number): void {
    this.#dialogue.expire(now);
    for (const life of this.#children.lapsed(now)) this.#dialogue.abandon(failures.tokenEnded, life);
    if (!this.#children.isEnding(now)) return;
    if (this.callsInFlight === 0 && now - this.#workedAt >= RECENT_MS)
      this.sleep('its token is about to expire');
    else this.#children.renew(now);
  }

  /**
   * Stops the child if it has nothing to do; false when there was none, or it has. With an error for them, calls that
   * wait for their clients, which may be long, are nothing to do.
   */
  sleep(why: string, error?: RpcError): boolean {
    if (this.state !== 'live') return false;
    if (error !== undefined && this.callsAtWork === 0) this.#dialogue.abandon(error);
    if (this.callsInFlight > 0) return false;
    this.#children.sleep(why);
    return true;
  }

  /** Ends what it has in memory; its record is not touched. */
  close(error: RpcError): void {
    if (this.state === 'closed') return;
    this.#children.close(error);
    this.#dialogue.close();
    this.#turnAway(error);
    this.#satisfy(error);
    this.#host.closed(this);
  }

  /** A new child is told what this conversation has settled. */
  async #greet(life: Life, child: Link): Promise<RpcError | undefined> {
    const greeting = this.#shared?.greeting;
    if (greeting === 'none') return void this.#shared?.ear.started?.(life, (line) => child.write(line));
    const initialize =
      this.#handshake?.initialize ?? this.#opening?.initialize ?? (greeting && asRequest(greeting));
    if (initialize === undefined) return failures.sessionClosed;
    const answer = await new Promise<Buffer | undefined>((end) => {
      child.write(this.#dialogue.call(initialize, silent(end), life).line);
    });
    if (this.#opening !== undefined) this.#opening.answer = answer;
    const handshake = answer && agree(initialize, answer);
    if (answer === undefined || handshake === undefined) {
      this.#host.greetingFailed(this, initialize, answer);
      return failures.handshakeRefused;
    }
    this.#host.greeted(this, initialize, answer);
    this.#greetingHeard(answer);
    this.#handshake ??= handshake;
    const { version } = this.#handshake;
    if (handshake.version !== version) {
      this.#host.log.warn('session.version-changed', { agreed: version, now: handshake.version });
    }
    child.write(INITIALIZED);
    this.#tell(life, (line) => child.write(line));
    return undefined;
  }

  /** A copy: the line may be a small part of much more that was read. */
  #greetingHeard(answer: Buffer): void {
    if (this.#shared === undefined) return;
    this.#greetingAnswer = Buffer.from(answer);
    this.#shared.ear.greeted(this.#greetingAnswer);
    this.#satisfy(this.#greetingAnswer);
  }

  #satisfy(greeting: Buffer | RpcError): void {
    for (const hear of this.#curious.splice(0)) hear(greeting);
  }

  /** Tells a child which wishes it does not know yet. */
  #tell(life: Life, write: (line: Buffer) => unknown): void {
    const told = this.#told.get(life) ?? NO_WISHES;
    this.#told.set(life, this.#wishes);
    for (const wish of lead(told, this.#wishes)) write(this.#dialogue.call(wish, silent(), life).line);
  }

  /** The client learns its session once it is saved: from then on it survives us. */
  async #welcome(): Promise<void> {
    const opening = this.#opening;
    if (opening?.answer === undefined || this.#handshake === undefined) return;
    const { id, server, caller } = this;
    const initialize = this.#handshake.initialize.bytes;
    const record = { id, ...caller, server, initialize, ...NO_WISHES, seenAt: this.#seenAt };
    try {
      if (!(await this.#host.opened(record))) return this.close(failures.sessionClosed);
    } catch (error) {
      this.#host.log.error('session.not-saved', { error: describeError(error) });
      return this.close(failures.brokenBridge);
    }
    if (this.#opening !== opening) return;
    this.#opening = undefined;
    this.#host.observer.called(server, 'answered');
    void opening.exchange.end(underId(opening.id, opening.answer));
  }

  /** The conversation has come to nothing: the client hears what the child said, or else what we say. */
  #turnAway(error: RpcError): void {
    const opening = this.#opening;
    if (opening === undefined) return;
    this.#opening = undefined;
    this.close(error);
    const { id, answer, exchange } = opening;
    const isTheirs = answer !== undefined && !isResult(answer);
    this.#host.observer.called(this.server, isTheirs ? 'rpc_error' : 'bridge_error');
    if (isTheirs) void exchange.end(underId(id, answer));
    else void exchange.end(errorAnswer(id, error), error.data?.retryAfterSeconds);
  }

  /** What has to be noticed of an answer besides passing it on. Most requests pay nothing for it. */
  #watch(message: RequestMessage, exchange: Exchange, life: Life, wokenAt: number | undefined): Exchange {
    const wish = wishOf(message);
    const isPing = message.method === 'ping';
    if (wish === undefined && wokenAt === undefined && !isPing) return exchange;
    const { log, now, observer } = this.#host;
    return {
      streams: exchange.streams,
      standsFor: exchange,
      ...((isPing || exchange.kind !== undefined) && { kind: exchange.kind ?? ('ping' as const) }),
      send: (early) => exchange.send(early),
      end: (answer, retryAfterSeconds, outcome) => {
        if (wokenAt !== undefined) observer.firstAnswer(this.server, now() - wokenAt);
        if (wish === undefined || answer === undefined || !isResult(answer))
          return exchange.end(answer, retryAfterSeconds, outcome);
        this.#wishes = wish(this.#wishes);
        this.#told.set(life, wish(this.#told.get(life) ?? NO_WISHES));
        // Its child may have been replaced while it was asked.
        const { serving } = this.#children;
        if (serving !== undefined) this.#tell(serving, (line) => this.write(serving, line));
        return this.#host
          .changed(this, this.#wishes)
          .catch((error: unknown) => log.error('session.not-saved', { error: describeError(error) }))
          .then(() => exchange.end(answer));
      },
    };
  }

  #callEnded(outcome: CallOutcome, exchange: Exchange): void {
    if (exchange.kind === undefined) this.#workedAt = this.#host.now();
    if (exchange.kind !== 'ours') this.#count(outcome);
    this.#children.release();
  }

  /** Requests that come without a session are counted where they come in. */
  #count(outcome: CallOutcome): void {
    if (!this.isShared) this.#host.observer.called(this.server, outcome);
  }

  write(life: Life, line: Buffer, key?: number): 'clogged' | undefined {
    this.#host.observer.bytes('to_child', line.length);
    return this.#children.write(life, line, key);
  }
}
