/**
 * One MCP conversation. It outlives its child: a child that crashed, fell asleep or whose token runs out is replaced at
 * the next request by replaying the handshake; log level and subscriptions are not replayed. A call is never repeated.
 */
import { type Clock, MINUTE, SECOND } from '../base/clock.js';
import type { Caller, SessionId } from '../base/ids.js';
import { describeError, type Log } from '../base/log.js';
import {
  lineOf,
  type NotificationMessage,
  type RequestMessage,
  type ResponseMessage,
  rawAt,
} from '../mcp/message.js';
import { notification, type RpcError, resultAnswer } from '../mcp/protocol.js';
import type { Drain, Exchange } from './calls.js';
import type { Child, ChildEnd } from './child.js';
import { afterCrash, NO_CRASHES } from './crashes.js';
import { Dialogue } from './dialogue.js';
import * as failures from './failures.js';
import { type Handshake, mayBeAsked, readHandshake } from './handshake.js';
import type { Stream } from './outbox.js';

/** One life of a child under this session; what an older life still says is not listened to. */
interface Run {
  child: Child | undefined;
  tokenExpiresAt: number;
  readonly startedAt: number;
}

type State =
  | { readonly is: 'dormant' }
  | { readonly is: 'starting'; readonly run: Run; readonly queue: Buffer[] }
  | { readonly is: 'live'; readonly run: Run }
  | { readonly is: 'closed' };

export interface ChildEvents {
  readonly onLine: (line: Buffer) => Drain;
  readonly onEnd: (end: ChildEnd) => void;
}

export interface Launched {
  readonly child: Child;
  readonly tokenExpiresAt: number;
}

/** What a session asks of the registry that holds it. */
export interface SessionHost {
  readonly now: Clock;
  readonly log: Log;
  readonly requestMs: number;
  readonly maxQueuedBytes: number;
  launch(session: Session, events: ChildEvents): Promise<Launched | RpcError>;
  closed(session: Session): void;
}

/** A token this close to its end does not carry another call; a short-lived one works for two thirds of its life. */
const TOKEN_MARGIN_MS = MINUTE;
const MAX_CALLS = 1000;
const INITIALIZED = lineOf(notification('notifications/initialized'));

export class Session {
  readonly id: SessionId;
  readonly caller: Caller;
  readonly server: string;
  readonly #host: SessionHost;
  readonly #dialogue: Dialogue;
  #state: State = { is: 'dormant' };
  #handshake: Handshake | undefined;
  #crashes = NO_CRASHES;
  #seenAt: number;

  constructor(id: SessionId, caller: Caller, server: string, host: SessionHost) {
    this.id = id;
    this.caller = caller;
    this.server = server;
    this.#host = host;
    this.#seenAt = host.now();
    this.#dialogue = new Dialogue({
      write: (line) => this.#write(line),
      now: host.now,
      requestMs: host.requestMs,
      canAsk: (method) => mayBeAsked(method, this.#handshake),
      log: host.log,
    });
  }

  get state(): State['is'] {
    return this.#state.is;
  }

  /** When the client last said something; open streams do not count. */
  get seenAt(): number {
    return this.#seenAt;
  }

  get callsInFlight(): number {
    return this.#dialogue.callsInFlight;
  }

  get protocolVersion(): string | undefined {
    return this.#handshake?.version;
  }

  /** The first request of the conversation. Without a good answer to it there is no session. */
  initialize(message: RequestMessage, exchange: Exchange): () => void {
    const disconnect = this.request(message, {
      streams: exchange.streams,
      send: (early) => exchange.send(early),
      end: (answer) => {
        this.#handshake = answer && readHandshake(message, answer);
        if (this.#handshake === undefined) this.close(failures.sessionClosed);
        return exchange.end(answer);
      },
    });
    return () => {
      disconnect();
      // Nobody has learned the id.
      if (this.#handshake === undefined) this.close(failures.sessionClosed);
    };
  }

  /** What is returned is for a client that goes away before the answer. */
  request(message: RequestMessage, exchange: Exchange): () => void {
    this.#seenAt = this.#host.now();
    if (this.callsInFlight === 0 && this.#tokenIsEnding()) this.sleep('its token is about to expire');
    if (this.#state.is === 'dormant' && message.method === 'ping') {
      void exchange.end(resultAnswer(rawAt(message.bytes, message.id), {}));
      return () => undefined;
    }
    const { key, line } = this.#dialogue.call(message, exchange);
    const refusal = this.#send(line);
    if (refusal === undefined) return () => this.#dialogue.giveUp(key, 'the client disconnected');
    this.#dialogue.refuse(key, refusal);
    return () => undefined;
  }

  /** A notification starts no child: there is nothing it could be about. */
  notify(message: NotificationMessage): void {
    this.#seenAt = this.#host.now();
    if (message.method === 'notifications/initialized') this.#confirm();
    else this.#dialogue.notify(message);
  }

  answer(message: ResponseMessage): void {
    this.#seenAt = this.#host.now();
    this.#dialogue.answer(message);
  }

  /** Opens the standing stream; what is returned is for the client that leaves it. */
  listen(stream: Stream): () => void {
    this.#seenAt = this.#host.now();
    return this.#dialogue.listen(stream);
  }

  /** Ends what is overdue. The registry calls it about once a second. */
  expire(now: number): void {
    this.#dialogue.expire(now);
  }

  /** Only for a session without calls in flight. */
  sleep(why: string): void {
    if (this.#state.is !== 'live') return;
    const { child } = this.#state.run;
    this.#lose(failures.sessionClosed);
    void child?.stop(why);
  }

  /** The client is done with it. */
  end(): void {
    this.close(failures.sessionClosed);
  }

  close(error: RpcError): void {
    if (this.#state.is === 'closed') return;
    const child = 'run' in this.#state ? this.#state.run.child : undefined;
    this.#state = { is: 'closed' };
    this.#dialogue.close(error);
    void child?.stop('the session was closed');
    this.#host.closed(this);
  }

  /** Gets a request to the child, by starting one if need be; or says why not. */
  #send(line: Buffer): RpcError | undefined {
    if (this.callsInFlight > MAX_CALLS) return failures.tooManyCalls;
    switch (this.#state.is) {
      case 'closed':
        return failures.sessionClosed;
      case 'starting':
        return this.#enqueue(this.#state.queue, line) === 'clogged' ? failures.childNotReading : undefined;
      case 'live':
        this.#confirm();
        return this.#write(line) === 'clogged' ? failures.childNotReading : undefined;
      case 'dormant': {
        const wait = this.#crashes.retryAt - this.#host.now();
        if (wait > 0) return failures.childKeepsEnding(Math.ceil(wait / SECOND));
        this.#start(line);
        return undefined;
      }
    }
  }

  #write(line: Buffer): 'clogged' | undefined {
    if (this.#state.is === 'starting') return this.#enqueue(this.#state.queue, line);
    if (this.#state.is !== 'live') return undefined;
    // To a child that has just ended nothing is written; its end, on its way to us, answers the call.
    return this.#state.run.child?.write(line) === 'clogged' ? 'clogged' : undefined;
  }

  /** What waits for a child that is starting is bounded like what waits for one that does not read. */
  #enqueue(queue: Buffer[], line: Buffer): 'clogged' | undefined {
    const waiting = queue.reduce((bytes, { length }) => bytes + length, 0);
    if (queue.length >= MAX_CALLS || waiting > this.#host.maxQueuedBytes) return 'clogged';
    queue.push(line);
    return undefined;
  }

  /** Clients lose this notification on the way (another connection, no session id); the child needs it all the same. */
  #confirm(): void {
    if (this.#state.is !== 'live' || this.#handshake?.confirmed !== false) return;
    this.#handshake = { ...this.#handshake, confirmed: true };
    this.#write(INITIALIZED);
  }

  #tokenIsEnding(): boolean {
    if (this.#state.is !== 'live') return false;
    const { startedAt, tokenExpiresAt } = this.#state.run;
    const margin = Math.min(TOKEN_MARGIN_MS, (tokenExpiresAt - startedAt) / 3);
    return tokenExpiresAt - this.#host.now() < margin;
  }

  /** Starts a child, repeats the handshake if there was one, then hands it the lines that waited. */
  #start(line: Buffer): void {
    const run: Run = { child: undefined, startedAt: this.#host.now(), tokenExpiresAt: 0 };
    this.#state = { is: 'starting', run, queue: [line] };
    this.#bringUp(run).then(
      (error) => (error === undefined ? this.#goLive(run) : this.#failStart(run, error)),
      (error: unknown) => {
        this.#host.log.error('session.start-failed', { error: describeError(error) });
        this.#failStart(run, failures.brokenBridge);
      },
    );
  }

  async #bringUp(run: Run): Promise<RpcError | undefined> {
    const launched = await this.#host.launch(this, {
      onLine: (line) => (this.#isCurrent(run) ? this.#dialogue.hear(line) : undefined),
      onEnd: (end) => this.#childEnded(run, end),
    });
    if ('code' in launched) return launched;
    if (!this.#isCurrent(run)) {
      void launched.child.stop('the session was closed while it started');
      return undefined;
    }
    run.child = launched.child;
    run.tokenExpiresAt = launched.tokenExpiresAt;
    return this.#handshake && this.#replay(launched.child, this.#handshake);
  }

  /** The new child is told what the client told the first one; its answer is ours to keep. */
  async #replay(child: Child, { initialize }: Handshake): Promise<RpcError | undefined> {
    const answer = await new Promise<Buffer | undefined>((resolve) => {
      child.write(
        this.#dialogue.call(initialize, {
          streams: false,
          send: () => undefined,
          end: (line) => void resolve(line),
        }).line,
      );
    });
    const handshake = answer && readHandshake(initialize, answer);
    if (handshake === undefined) return failures.handshakeRefused;
    this.#handshake = { ...handshake, confirmed: true };
    child.write(INITIALIZED);
    return undefined;
  }

  #goLive(run: Run): void {
    if (this.#state.is !== 'starting' || this.#state.run !== run) return;
    const { queue } = this.#state;
    this.#state = { is: 'live', run };
    for (const line of queue) this.#write(line);
  }

  #failStart(run: Run, error: RpcError): void {
    if (!this.#isCurrent(run)) return;
    this.#lose(error);
    void run.child?.stop('its start failed');
  }

  #childEnded(run: Run, end: ChildEnd): void {
    if (!this.#isCurrent(run)) return;
    this.#crashes = afterCrash(this.#crashes, run.startedAt, this.#host.now());
    this.#lose(failures.childEnded(end));
  }

  #lose(error: RpcError): void {
    this.#state = { is: 'dormant' };
    this.#dialogue.loseChild(error);
  }

  #isCurrent(run: Run): boolean {
    return 'run' in this.#state && this.#state.run === run;
  }
}
