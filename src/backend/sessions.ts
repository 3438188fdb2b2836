/**
 * The sessions: who may use which, which of them are in memory, when their children start and sleep. The store is the
 * authority; what stands in memory are those in use. What is said in a session is not its business.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Clock, MINUTE, SECOND } from '../base/clock.js';
import { type Caller, type GrantId, type Randomness, randomId, type SessionId } from '../base/ids.js';
import { describeError, type Log, type LogFields } from '../base/log.js';
import type { Maybe } from '../base/maybe.js';
import type { RpcError } from '../mcp/protocol.js';
import type { StopGrace } from './child.js';
import type { Launched, LinkEvents, Predecessor } from './children.js';
import type { Containment } from './containment.js';
import type { EraStore } from './era-store.js';
import { type ConfiguredServer, type Era, Eras } from './eras.js';
import * as failures from './failures.js';
import { KnownAnswers } from './handshake.js';
import type { UpstreamFault, UpstreamSource } from './launch.js';
import { ModernLink } from './modern-link.js';
import { type CallOutcome, type Census, NO_OBSERVER, type SessionObserver } from './observer.js';
import { Session } from './session.js';
import type { SessionHost } from './session-host.js';
import type { SessionRecord, SessionStore } from './session-store.js';
import type { Shared } from './shared.js';
import { type Slot, Slots } from './slots.js';
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
  readonly store: SessionStore & EraStore;
  readonly servers: readonly ConfiguredServer[];
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
  /** See `SpawnerOptions`. */
  readonly rollFile?: string | undefined;
  readonly observer?: SessionObserver;
}

/** Clients open sessions and forget them; beyond this, a user's longest unseen ones go. */
const MAX_SESSIONS_PER_USER = 200;
const TICK_MS = SECOND;
const PORTION = 500;
/** So long a client that was cut off may come back for an answer; it is kept with the session that is in memory. */
const KEPT_MS = MINUTE;

export class Sessions implements AsyncDisposable {
  readonly #options: SessionsOptions;
  readonly #observer: SessionObserver;
  /** Those in use. A session is never here twice, for two objects would have two children. */
  readonly #sessions = new Map<string, Session>();
  /** Those that no client has, by what finds them. */
  readonly #shared = new Map<string, Session>();
  readonly #loading = new Map<string, Promise<Session | undefined>>();
  /** Their records are about to go. */
  readonly #ending = new Set<string>();
  readonly #known: KnownAnswers;
  readonly #slots: Slots;
  readonly #spawner: Spawner;
  readonly #eras: Eras;
  readonly #ticker: NodeJS.Timeout;
  #isLeaving: boolean = false;
  #isClosed: boolean = false;
  #savedAt = 0;

  constructor(options: SessionsOptions) {
    const { now, limits, observer = NO_OBSERVER } = options;
    this.#options = options;
    this.#observer = observer;
    this.#known = new KnownAnswers(now);
    this.#slots = new Slots(limits, () => observer.evicted('crowded'));
    this.#spawner = new Spawner({ ...options, maxMessageBytes: limits.maxMessageBytes });
    this.#eras = new Eras({ ...options, spawner: this.#spawner });
    this.#ticker = setInterval(() => this.tick(), TICK_MS).unref();
  }

  /** For whoever waits for quiet. */
  get counts(): { readonly sessions: number; readonly children: number; readonly calls: number } {
    const calls = [...this.#sessions.values()].reduce((sum, session) => sum + session.callsInFlight, 0);
    return { sessions: this.#sessions.size, children: this.#slots.all.length, calls };
  }

  /** For the metrics. */
  get census(): Census {
    const children = this.#slots.all.map(({ session }) => session.server);
    return { sessions: this.#sessions.values(), children };
  }

  /** Nobody gets a session any more. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** A new conversation of `caller` with `server`, to be initialized. It closes itself if that fails. */
  open(caller: Caller, server: string): Session {
    this.#makeRoom(caller);
    const id = randomId<SessionId>(this.#options.random, 'se_');
    const session = new Session(id, caller, server, this.#hostOf(id, server));
    this.#sessions.set(id, session);
    return session;
  }

  /**
   * The session that all requests with this key share, in memory alone: it has no record, and nobody gets its id. One is
   * made, of what `make` says, when there is none.
   */
  shared(key: string, caller: Caller, server: string, make: (host: SessionHost) => Shared): Session {
    const name = `${caller.grantId} ${server} ${key}`;
    const known = this.#shared.get(name);
    if (known !== undefined && known.state !== 'closed') return known;
    this.#makeRoom(caller);
    const id = randomId<SessionId>(this.#options.random, 'sh_');
    const host: SessionHost = {
      ...this.#hostOf(id, server),
      opened: () => Promise.resolve(true),
      changed: () => Promise.resolve(),
      closed: () => {
        this.#sessions.delete(id);
        if (this.#shared.get(name) === session) this.#shared.delete(name);
      },
    };
    const session = new Session(id, caller, server, host, make(host));
    this.#sessions.set(id, session);
    this.#shared.set(name, session);
    if (this.#isClosed) session.close(failures.stopping);
    return session;
  }

  /** A request has ended that was in no session. */
  called(server: string, outcome: CallOutcome): void {
    this.#observer.called(server, outcome);
  }

  get limits(): SessionLimits {
    return this.#options.limits;
  }

  /** Whether another child for this user would be refused at the moment. */
  isFull({ userId }: Caller): boolean {
    return this.#slots.isFull(userId);
  }

  /** The era of a server, at once when it is known; the first who needs to know waits for a probe. */
  eraOf(caller: Caller, server: string): Maybe<Era | RpcError> {
    const entry = this.#options.servers.find(({ name }) => name === server);
    if (entry === undefined) return failures.launchRefused({ launchFault: `"${server}" is not configured` });
    return this.#eras.known(entry) ?? this.#findEra(entry, caller);
  }

  async #findEra(entry: ConfiguredServer, { userId }: Caller): Promise<Era | RpcError> {
    const access = await this.#options.upstream(userId);
    return 'fault' in access ? failures.upstreamFailed(access) : this.#eras.of(entry, access);
  }

  /** A session is its owner's: same user, same grant, same server. To anybody else it does not exist. */
  find(id: string, caller: Caller, server: string): Session | undefined | Promise<Session | undefined> {
    const known = this.#sessions.get(id);
    if (known?.isShared) return undefined;
    if (known !== undefined) return isFor(known, caller, server) ? known : undefined;
    return this.#load(id).then((session) =>
      session !== undefined && isFor(session, caller, server) ? session : undefined,
    );
  }

  /** The client is done with it. */
  async end(session: Session): Promise<void> {
    this.#ending.add(session.id);
    session.close(failures.sessionClosed);
    try {
      await this.#options.store.removeSession(session.id);
    } finally {
      this.#ending.delete(session.id);
    }
  }

  /** Ends what these callers have in memory. Their sessions are gone only when their grants are. */
  closeWhere(matches: (caller: Caller) => boolean, why?: UpstreamFault): void {
    const error = why === undefined ? failures.sessionClosed : failures.upstreamFailed(why);
    for (const session of this.#sessions.values()) {
      if (matches(session.caller)) session.close(error);
    }
  }

  /** Asks which grants of the open sessions are no more, and closes their sessions. */
  async closeGone(missing: (grants: readonly GrantId[]) => Promise<readonly GrantId[]>): Promise<void> {
    const open = new Set([...this.#sessions.values()].map(({ caller }) => caller.grantId));
    if (open.size === 0) return;
    const gone = new Set(await missing([...open]));
    this.closeWhere(({ grantId }) => gone.has(grantId));
  }

  /** Notes in the store when sessions were last seen; in portions, for others wait meanwhile. */
  async save(): Promise<void> {
    const { store, now } = this.#options;
    const until = now();
    const seen = [...this.#sessions.values()].filter(
      ({ seenAt, isShared }) => seenAt >= this.#savedAt && !isShared,
    );
    const times = seen.map(({ id, seenAt }) => [id, seenAt] as const);
    for (let from = 0; from < times.length; from += PORTION) {
      await store.touchSessions(new Map(times.slice(from, from + PORTION)));
      await nextTurn();
    }
    this.#savedAt = until;
  }

  /** Forgets in the store what has not been seen for too long. */
  async sweep(): Promise<void> {
    const { store, now, limits } = this.#options;
    await store.sweepSessions(now() - limits.sessionMs);
  }

  tick(): void {
    const { now, limits } = this.#options;
    const time = now();
    if (this.#isLeaving) this.hangUp();
    for (const session of this.#sessions.values()) {
      session.tick(time);
      if (session.callsInFlight > 0) continue;
      const idleMs = time - session.idleSince;
      if (idleMs >= limits.childIdleMs && session.sleep('idle')) this.#observer.evicted('idle');
      const isUnseen = time - session.seenAt >= limits.sessionMs;
      if (isUnseen) this.#observer.evicted('unseen');
      if (isUnseen || (idleMs >= Math.max(limits.childIdleMs, KEPT_MS) && !session.isInUse))
        session.close(failures.sessionClosed);
    }
  }

  /** From now on ends the standing streams: their clients open others, at the broker that comes after this one. */
  hangUp(): void {
    this.#isLeaving = true;
    for (const session of this.#sessions.values()) session.hangUp();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#ticker);
    this.#isClosed = true;
    const saved = this.save();
    for (const session of this.#sessions.values()) session.close(failures.stopping);
    await saved.catch((error: unknown) => {
      this.#options.log.warn('sessions.not-saved', { error: describeError(error) });
    });
    const children = this.#slots.all.map(({ child }) => child?.stop('the broker is shutting down'));
    await Promise.all([...children, this.#eras[Symbol.asyncDispose]()]);
    await this.#spawner[Symbol.asyncDispose]();
  }

  #load(id: string): Promise<Session | undefined> {
    const running = this.#loading.get(id);
    if (running !== undefined) return running;
    const loading = this.#recall(id).finally(() => this.#loading.delete(id));
    this.#loading.set(id, loading);
    return loading;
  }

  async #recall(id: string): Promise<Session | undefined> {
    const { store, now, limits, servers } = this.#options;
    const record = await store.findSession(id);
    if (
      record === undefined ||
      this.#ending.has(id) ||
      this.#isClosed ||
      now() - record.seenAt >= limits.sessionMs
    )
      return undefined;
    if (!servers.some(({ name }) => name === record.server)) return undefined;
    const { userId, grantId, server } = record;
    const session = new Session(
      record.id,
      { userId, grantId },
      server,
      this.#hostOf(record.id, server),
      record,
    );
    this.#sessions.set(id, session);
    return session;
  }

  #hostOf(id: SessionId, server: string): SessionHost {
    const { now, limits, store } = this.#options;
    const log = this.#logFor({ session: id, server });
    return {
      now,
      log,
      observer: this.#observer,
      requestMs: limits.requestMs,
      maxQueuedBytes: limits.maxMessageBytes,
      launch: (session, before, events) => this.#launch(session, before, events, log),
      knownAnswer: ({ caller }, initialize) => this.#known.find(caller.userId, server, initialize),
      greeted: ({ caller }, initialize, answer) =>
        this.#known.remember(caller.userId, server, initialize, answer),
      greetingFailed: ({ caller }, initialize, answer) => {
        this.#known.forget(caller.userId, server, initialize);
        if (answer !== undefined) this.#eras.doubt(server, answer);
      },
      opened: (record: SessionRecord) => store.addSession(record, MAX_SESSIONS_PER_USER),
      changed: (session, wishes) => store.updateSession(session.id, wishes),
      closed: (session) => {
        if (this.#sessions.get(session.id) === session) this.#sessions.delete(session.id);
      },
    };
  }

  async #launch(
    session: Session,
    before: Predecessor | undefined,
    events: LinkEvents,
    log: Log,
  ): Promise<Launched | RpcError> {
    const slot = await this.#slots.take(session, before !== undefined);
    if (slot === undefined) return failures.allBusy;
    try {
      return await this.#startChild(slot, before, events, log);
    } finally {
      if (slot.child === undefined) this.#slots.free(slot);
    }
  }

  async #startChild(
    slot: Slot,
    before: Predecessor | undefined,
    events: LinkEvents,
    log: Log,
  ): Promise<Launched | RpcError> {
    const { servers, upstream, limits } = this.#options;
    const { server, caller } = slot.session;
    const entry = servers.find(({ name }) => name === server);
    if (entry === undefined) return failures.launchRefused({ launchFault: `"${server}" is not configured` });
    const access = await upstream(caller.userId);
    if ('fault' in access) return failures.upstreamFailed(access);
    // Another child with the same token would be of no use; when there is a fresher one is asked again soon.
    if (before !== undefined && access.expiresAt <= before.tokenExpiresAt) return failures.noFresherToken;
    const era = await this.#eras.of(entry, access);
    if (typeof era !== 'string') return era;
    if (slot.session.state === 'closed') return failures.sessionClosed;
    if (slot.session.isModern && era !== 'modern') return failures.eraChanged;
    const modern =
      era === 'modern' && !slot.session.isModern
        ? new ModernLink(events.onLine, limits.maxMessageBytes)
        : undefined;
    const child = this.#spawner.start(entry, access, {
      log,
      onLine: modern === undefined ? events.onLine : (line) => modern.hear(line),
      onEnd: (end) => {
        this.#slots.free(slot);
        this.#observer.childEnded(server, end.how);
        events.onEnd(end);
      },
    });
    if ('launchFault' in child) return failures.launchRefused(child);
    slot.child = child;
    log.info('child.started', { pid: child.pid, user: caller.userId });
    const { expiresAt: tokenExpiresAt, freshUntil } = access;
    return { child: modern?.attach(child) ?? child, tokenExpiresAt, freshUntil };
  }

  /** Of a user's sessions in memory, the one goes that was idle longest, rather one that is not in use; its record stays. */
  #makeRoom(caller: Caller): void {
    const own = [...this.#sessions.values()].filter((session) => session.caller.userId === caller.userId);
    if (own.length < MAX_SESSIONS_PER_USER) return;
    const idle = own.filter(({ callsInFlight }) => callsInFlight === 0);
    const spare = idle.filter(({ isInUse }) => !isInUse);
    const [longest] = (spare.length > 0 ? spare : idle).toSorted((a, b) => a.idleSince - b.idleSince);
    if (longest === undefined) return;
    longest.close(failures.sessionClosed);
    this.#observer.evicted('forgotten');
  }

  #logFor(context: LogFields): Log {
    const { log } = this.#options;
    const at = (level: keyof Log) => (event: string, fields?: LogFields) =>
      log[level](event, { ...context, ...fields });
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
  }
}

function isFor(
  { caller: { userId, grantId }, server, state }: Session,
  caller: Caller,
  asked: string,
): boolean {
  return server === asked && state !== 'closed' && userId === caller.userId && grantId === caller.grantId;
}
