/**
 * The sessions of this process and the children they may have. It decides who may use which session, how many children
 * run at once, and who goes to sleep to make room; what is said in a session is not its business.
 */
import { type Clock, SECOND } from '../base/clock.js';
import { type Caller, type GrantId, type Randomness, randomId, type SessionId } from '../base/ids.js';
import type { Log, LogFields } from '../base/log.js';
import type { RequestMessage } from '../mcp/message.js';
import type { RpcError } from '../mcp/protocol.js';
import type { Exchange } from './calls.js';
import type { Child, ChildEnd, StopGrace } from './child.js';
import type { Containment } from './containment.js';
import * as failures from './failures.js';
import type { ServerEntry, UpstreamSource } from './launch.js';
import { type ChildEvents, type Launched, Session } from './session.js';
import { Spawner } from './spawner.js';

export interface SessionLimits {
  readonly maxChildren: number;
  readonly maxChildrenPerUser: number;
  readonly childIdleMs: number;
  readonly sessionMs: number;
  readonly requestMs: number;
  readonly maxMessageBytes: number;
}

export interface SessionsOptions {
  readonly servers: readonly ServerEntry[];
  readonly upstream: UpstreamSource;
  /** `PATH` and `LANG` of the children. */
  readonly path: string;
  readonly lang: string;
  readonly limits: SessionLimits;
  readonly containment: Containment;
  readonly now: Clock;
  readonly random: Randomness;
  readonly log: Log;
  readonly grace?: StopGrace;
}

/** Room for one child: taken before it is started, given back when it is reaped. */
interface Slot {
  readonly session: Session;
  child: Child | undefined;
}

/** Clients open sessions and forget them; beyond this, a user's longest unseen one without a child goes. */
const MAX_SESSIONS_PER_USER = 200;
const SWEEP_MS = SECOND;

export class Sessions implements AsyncDisposable {
  readonly #options: SessionsOptions;
  readonly #sessions = new Map<string, Session>();
  readonly #slots = new Set<Slot>();
  readonly #spawner: Spawner;
  readonly #sweeper: NodeJS.Timeout;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#spawner = new Spawner({ ...options, maxMessageBytes: options.limits.maxMessageBytes });
    this.#sweeper = setInterval(() => this.sweep(), SWEEP_MS).unref();
  }

  /** For the metrics and for whoever waits for quiet. */
  get counts(): { readonly sessions: number; readonly children: number; readonly calls: number } {
    const calls = [...this.#sessions.values()].reduce((sum, session) => sum + session.callsInFlight, 0);
    return { sessions: this.#sessions.size, children: this.#slots.size, calls };
  }

  /** A new conversation of `caller` with `server`. It closes itself if its `initialize` fails. */
  open(caller: Caller, server: string, message: RequestMessage, exchange: Exchange): OpenedSession {
    this.#forgetOne(caller);
    const { now, random, limits } = this.#options;
    const id = randomId<SessionId>(random, 'se_');
    const log = this.#logFor({ session: id, server });
    const session: Session = new Session(id, caller, server, {
      now,
      log,
      requestMs: limits.requestMs,
      maxQueuedBytes: limits.maxMessageBytes,
      launch: (asking, events) => this.#launch(asking, events, log),
      closed: (closed) => this.#sessions.delete(closed.id),
    });
    this.#sessions.set(id, session);
    return { session, disconnect: session.initialize(message, exchange) };
  }

  /** A session is its owner's: same user, same grant, same server. To anybody else it does not exist. */
  find(id: string, caller: Caller, server: string): Session | undefined {
    const session = this.#sessions.get(id);
    if (session === undefined || session.server !== server) return undefined;
    const { userId, grantId } = session.caller;
    return userId === caller.userId && grantId === caller.grantId ? session : undefined;
  }

  /** Closes what a revoked grant or a removed user had open. */
  closeWhere(matches: (caller: Caller) => boolean): void {
    for (const session of this.#sessions.values()) {
      if (matches(session.caller)) session.close(failures.sessionClosed);
    }
  }

  /** Asks which grants of the open sessions are no more, and closes their sessions. */
  async closeGone(missing: (grants: readonly GrantId[]) => Promise<readonly GrantId[]>): Promise<void> {
    const open = new Set([...this.#sessions.values()].map(({ caller }) => caller.grantId));
    if (open.size === 0) return;
    const gone = new Set(await missing([...open]));
    this.closeWhere(({ grantId }) => gone.has(grantId));
  }

  sweep(): void {
    const { now, limits } = this.#options;
    const time = now();
    for (const session of this.#sessions.values()) {
      session.expire(time);
      const unseenMs = session.callsInFlight === 0 ? time - session.seenAt : 0;
      if (unseenMs >= limits.sessionMs) session.close(failures.sessionClosed);
      else if (unseenMs >= limits.childIdleMs) session.sleep('idle');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#sweeper);
    for (const session of this.#sessions.values()) session.close(failures.sessionClosed);
    await Promise.all([...this.#slots].map(({ child }) => child?.stop('the broker is shutting down')));
    await this.#spawner[Symbol.asyncDispose]();
  }

  async #launch(session: Session, events: ChildEvents, log: Log): Promise<Launched | RpcError> {
    const slot = await this.#takeSlot(session);
    if (slot === undefined) return failures.allBusy;
    try {
      return await this.#startChild(slot, events, log);
    } finally {
      if (slot.child === undefined) this.#slots.delete(slot);
    }
  }

  async #startChild(slot: Slot, events: ChildEvents, log: Log): Promise<Launched | RpcError> {
    const { servers, upstream } = this.#options;
    const { server, caller } = slot.session;
    const entry = servers.find(({ name }) => name === server);
    if (entry === undefined) return failures.launchRefused({ launchFault: `"${server}" is not configured` });
    const access = await upstream(caller.userId);
    if ('fault' in access) return failures.upstreamFailed(access);
    if (slot.session.state === 'closed') return failures.sessionClosed;
    const child = this.#spawner.start(entry, access, {
      log,
      onLine: events.onLine,
      onEnd: (end) => {
        this.#slots.delete(slot);
        events.onEnd(end);
      },
    });
    if ('launchFault' in child) return failures.launchRefused(child);
    slot.child = child;
    log.info('child.started', { pid: child.pid, user: caller.userId });
    return { child, tokenExpiresAt: access.expiresAt };
  }

  /** Room for one more child. The idlest session makes it, if one is idle; undefined if all are at work. */
  async #takeSlot(session: Session): Promise<Slot | undefined> {
    const { maxChildren, maxChildrenPerUser } = this.#options.limits;
    for (let attempt = 1; ; attempt += 1) {
      const all = [...this.#slots];
      const own = all.filter((slot) => slot.session.caller.userId === session.caller.userId);
      const crowd = own.length >= maxChildrenPerUser ? own : all.length >= maxChildren ? all : undefined;
      if (crowd === undefined) {
        const slot: Slot = { session, child: undefined };
        this.#slots.add(slot);
        return slot;
      }
      // One sleeper for each newcomer; after that, whoever leaves anyway is waited for first.
      if (attempt === 1 || leaving(crowd).length === 0) idlest(crowd)?.sleep('others need its place');
      const ends = leaving(crowd);
      if (ends.length === 0) return undefined;
      await Promise.race(ends);
    }
  }

  #forgetOne(caller: Caller): void {
    const own = [...this.#sessions.values()].filter((session) => session.caller.userId === caller.userId);
    if (own.length < MAX_SESSIONS_PER_USER) return;
    const dormant = own.filter((session) => session.state === 'dormant');
    dormant.toSorted((a, b) => a.seenAt - b.seenAt)[0]?.close(failures.sessionClosed);
  }

  #logFor(context: LogFields): Log {
    const { log } = this.#options;
    const at = (level: keyof Log) => (event: string, fields?: LogFields) =>
      log[level](event, { ...context, ...fields });
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
  }
}

export interface OpenedSession {
  readonly session: Session;
  /** For a client that goes away before the handshake is done. */
  readonly disconnect: () => void;
}

function idlest(slots: readonly Slot[]): Session | undefined {
  const idle = slots
    .map(({ session }) => session)
    .filter(({ state, callsInFlight }) => state === 'live' && callsInFlight === 0);
  return idle.toSorted((a, b) => a.seenAt - b.seenAt)[0];
}

const leaving = (slots: readonly Slot[]): Promise<ChildEnd>[] =>
  slots.flatMap(({ child }) => (child?.stopping ? [child.ended] : []));
