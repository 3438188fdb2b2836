/**
 * All modern requests that say the same of their client, of one grant, at one legacy server: the children that they
 * share, their subscriptions, and what waits for a child. One child is enough, unless the server asks its clients
 * questions: nothing says which request a question is about, so that there each request that may lead to one gets a
 * child to itself while it runs.
 */
import type { Clock } from '../base/clock.js';
import type { Caller } from '../base/ids.js';
import type { Envelope } from '../mcp/envelope.js';
import type { NotificationMessage, RequestMessage } from '../mcp/message.js';
import type { RpcError } from '../mcp/protocol.js';
import { silent } from './answers.js';
import type { Drain } from './calls.js';
import * as failures from './failures.js';
import { type Client, Lane } from './modern-lane.js';
import { Listeners } from './modern-listeners.js';
import type { Sessions } from './sessions.js';
import { ToolHeaders } from './tool-headers.js';

export interface ModernClientOptions {
  readonly sessions: Sessions;
  readonly now: Clock;
  readonly caller: Caller;
  readonly server: string;
  /** What its requests say of it. */
  readonly envelope: Pick<Envelope, 'clientInfo' | 'capabilities'>;
  /** A digest of it. */
  readonly key: string;
  /** The `initialize` of its children. */
  readonly initialize: Buffer;
  readonly ttlMs: number;
  /** Whether this server is known to ask questions. */
  readonly isInteractive: () => boolean;
  readonly puzzled: () => void;
  readonly greeted: (answer: Buffer) => void;
  /** Its first lane is about to be made. */
  readonly opened: () => void;
  /** Nothing is left of it: from now on another one stands for the same. */
  readonly closed: () => void;
}

/** What waits for a child to itself, from the oldest on. */
interface Waiting {
  readonly start: (lane: Lane) => void;
  readonly refuse: (error: RpcError) => void;
  readonly until: number;
}

export const MAX_WAITING = 100;

export class ModernClient implements Client {
  readonly listeners = new Listeners();
  readonly toolHeaders = new ToolHeaders((list) => this.#ask(list));
  readonly #options: ModernClientOptions;
  readonly #lanes = new Map<number, Lane>();
  readonly #waiting = new Set<Waiting>();
  #isOver: boolean = false;

  constructor(options: ModernClientOptions) {
    this.#options = options;
  }

  /** Whether this is the client that said so, word for word. */
  is(server: string, { clientInfo, capabilities }: Envelope): boolean {
    const { envelope } = this.#options;
    const saysSo = envelope.capabilities === capabilities && envelope.clientInfo === clientInfo;
    return saysSo && this.#options.server === server;
  }

  /** Whether nothing is left of it, and another one stands for the same. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Whether its server is known to ask questions. */
  get isInteractive(): boolean {
    return this.#options.isInteractive();
  }

  get ttlMs(): number {
    return this.#options.ttlMs;
  }

  /** One of them is enough to stay for those who listen. */
  isHeardBy(lane: Lane): boolean {
    const [oldest] = this.#lanes.values();
    return this.listeners.size > 0 && oldest === lane;
  }

  /** The child that serves all that need none to themselves. */
  get first(): Lane {
    return this.#lane(0);
  }

  /** Starts as soon as there is a lane where nothing else may be asked about; what is returned, if it waits, calls it off. */
  whenAlone(start: Waiting['start'], refuse: Waiting['refuse']): (() => void) | undefined {
    if (this.#waiting.size >= MAX_WAITING) {
      refuse(failures.tooManyCalls);
      return undefined;
    }
    const { now, sessions } = this.#options;
    const waiting = { start, refuse, until: now() + sessions.limits.requestMs };
    this.#waiting.add(waiting);
    this.released();
    if (!this.#waiting.has(waiting)) return undefined;
    return () => void this.#waiting.delete(waiting);
  }

  /** The children watch what all subscriptions together ask for. */
  watch(): void {
    const subscriptions = this.listeners.resources;
    for (const lane of this.#lanes.values()) lane.session?.wish((wishes) => ({ ...wishes, subscriptions }));
  }

  greeted(answer: Buffer): void {
    this.toolHeaders.renew();
    this.#options.greeted(answer);
  }

  changed(message: NotificationMessage): Drain {
    if (message.method === 'notifications/tools/list_changed') this.toolHeaders.forget();
    return this.listeners.hear(message);
  }

  puzzled(): void {
    this.#options.puzzled();
  }

  released(): void {
    if (this.#waiting.size === 0) return;
    if (this.#options.sessions.isClosed) {
      this.#turnAway(failures.stopping);
      return;
    }
    for (const waiting of this.#waiting) {
      const lane = this.#freeLane();
      if (lane === undefined) return;
      // It may have been refused meanwhile, if no more sessions are to be had.
      if (this.#waiting.delete(waiting)) waiting.start(lane);
    }
  }

  hangUp(): void {
    this.listeners.end();
  }

  closed(lane: Lane): void {
    for (const [number, known] of this.#lanes) if (known === lane) this.#lanes.delete(number);
    if (this.#lanes.size > 0) return;
    this.#isOver = true;
    this.#turnAway(this.#options.sessions.isClosed ? failures.stopping : failures.sessionClosed);
    this.listeners.end();
    this.#options.closed();
  }

  /** Tells those that have waited too long. Others may have a child now: not only requests of ours make room. */
  tick(now: number): void {
    for (const waiting of this.#waiting) {
      if (waiting.until > now) break;
      this.#waiting.delete(waiting);
      waiting.refuse(failures.timedOut(this.#options.sessions.limits.requestMs));
    }
    this.released();
  }

  #turnAway(error: RpcError): void {
    for (const waiting of this.#waiting) {
      this.#waiting.delete(waiting);
      waiting.refuse(error);
    }
  }

  /**
   * One where nothing else may be asked about; made while another child may be started. After that, one of which all
   * calls wait for their clients, so that nobody waits for people who may never come back.
   */
  #freeLane(): Lane | undefined {
    const { sessions, caller } = this.#options;
    let awake = 0;
    let asleep: Lane | undefined;
    let parked: Lane | undefined;
    for (const lane of this.#lanes.values()) {
      // To wake it takes a place, as a new one does.
      if (lane.session?.state === 'dormant') asleep ??= lane;
      else {
        awake += 1;
        const { use } = lane;
        if (use === 'none') return lane;
        if (use === 'parked') parked ??= lane;
      }
    }
    const hasRoom = awake === 0 || (awake < sessions.limits.maxChildrenPerUser && !sessions.isFull(caller));
    if (!hasRoom) return parked;
    if (asleep !== undefined) return asleep;
    let number = 0;
    while (this.#lanes.has(number)) number += 1;
    return this.#lane(number);
  }

  #lane(number: number): Lane {
    const known = this.#lanes.get(number);
    if (known !== undefined) return known;
    const { sessions, caller, server, key, initialize } = this.#options;
    const lane = new Lane(this);
    if (this.#lanes.size === 0) this.#options.opened();
    // Before the session is there: making room for it may close the only other one.
    this.#lanes.set(number, lane);
    const shared = () => ({ greeting: initialize, ear: lane });
    try {
      lane.attach(sessions.shared(`${key} ${number}`, caller, server, shared));
    } catch (error) {
      this.closed(lane);
      throw error;
    }
    const subscriptions = this.listeners.resources;
    if (subscriptions.length > 0) lane.session?.wish((wishes) => ({ ...wishes, subscriptions }));
    return lane;
  }

  /** Asks the child something of our own. */
  #ask(message: RequestMessage): Promise<Buffer | undefined> {
    return new Promise((resolve) => {
      const session = this.#isOver ? undefined : this.first.session;
      if (session === undefined) resolve(undefined);
      else session.request(message, silent(resolve));
    });
  }
}
