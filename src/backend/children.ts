/**
 * The children of one session, as `lives.ts` decides: started, greeted, handed what waited, and stopped. Whatever is
 * started here is stopped here.
 */
import { type Clock, SECOND } from '../base/clock.js';
import { describeError, type Log } from '../base/log.js';
import type { RpcError } from '../mcp/protocol.js';
import type { Heard } from './calls.js';
import type { ChildEnd } from './child.js';
import { afterCrash, NO_CRASHES } from './crashes.js';
import * as failures from './failures.js';
import { type Life, type LifeEvent, type LifeState, NO_LIFE, step } from './lives.js';

/** The way to a child. */
export interface Link {
  /** `line` ends with its line break. */
  write(line: Buffer): 'written' | 'clogged' | 'ended';
  stop(why: string): Promise<unknown>;
}

export interface LinkEvents {
  /** `about` is the call that the line belongs to, where it does not say so itself. */
  readonly onLine: (line: Buffer, about?: number) => Heard;
  readonly onEnd: (end: ChildEnd) => void;
}

export interface Launched {
  readonly child: Link;
  readonly tokenExpiresAt: number;
  /** From then on the next child is called for. */
  readonly freshUntil: number;
}

/** What the session has already, when another child is to be started. */
export interface Predecessor {
  /** The latest end of a token that one of its children has. */
  readonly tokenExpiresAt: number;
}

export interface ChildrenOptions {
  readonly now: Clock;
  readonly log: Log;
  readonly maxQueuedLines: number;
  readonly maxQueuedBytes: number;
  readonly launch: (before: Predecessor | undefined, events: LinkEvents) => Promise<Launched | RpcError>;
  /** Tells a new child what the conversation has settled; or why it cannot serve. */
  readonly greet: (life: Life, child: Link) => Promise<RpcError | undefined>;
  readonly hear: (life: Life, line: Buffer, about?: number) => Heard;
  /** Whether this child has calls to answer. */
  readonly owes: (life: Life) => boolean;
  readonly onServing: (startMs: number) => void;
  /** It will say no more; `error` is for those who wait for it. */
  readonly onLost: (life: Life, error: RpcError) => void;
}

/** One child from its start to its end. */
interface Run {
  child: Link | undefined;
  readonly startedAt: number;
  tokenExpiresAt: number;
  freshUntil: number;
  /** Lines for a child that does not serve yet, with the keys of calls. */
  waiting: { readonly line: Buffer; readonly key: number | undefined }[] | undefined;
}

const RENEWAL_RETRY_MS = 5 * SECOND;
const PASSING: ReadonlySet<string> = new Set(['busy', 'unreachable', 'no-fresher-token']);

export class Children {
  readonly #options: ChildrenOptions;
  readonly #runs = new Map<Life, Run>();
  #lives = NO_LIFE;
  #crashes = NO_CRASHES;
  #renewalAt = 0;

  constructor(options: ChildrenOptions) {
    this.#options = options;
  }

  get state(): LifeState['is'] {
    return this.#lives.state.is;
  }

  /** The child that gets what is said now. */
  get serving(): Life | undefined {
    return 'life' in this.#lives.state ? this.#lives.state.life : undefined;
  }

  get count(): number {
    return this.#runs.size;
  }

  /** The child for a new request, started if there is none; or why there is none. */
  need(): Life | RpcError {
    const now = this.#options.now();
    const { state } = this.#lives;
    if (state.is === 'closed') return failures.sessionClosed;
    if (state.is === 'dormant') {
      const wait = this.#crashes.retryAt - now;
      if (wait > 0) return failures.childKeepsEnding(Math.ceil(wait / SECOND));
      this.#apply({ is: 'needed' });
    } else if (now >= (this.#servingRun?.tokenExpiresAt ?? Number.POSITIVE_INFINITY)) {
      this.#apply({ is: 'lapse' });
    }
    return this.serving ?? failures.sessionClosed;
  }

  /** Whether the token of the child that serves is one to be replaced. */
  isEnding(now: number): boolean {
    return now >= (this.#servingRun?.freshUntil ?? Number.POSITIVE_INFINITY);
  }

  /** Those whose token has ended. */
  lapsed(now: number): Life[] {
    return [...this.#runs].filter(([, { tokenExpiresAt }]) => tokenExpiresAt <= now).map(([life]) => life);
  }

  /** Brings up the next child while the present one serves; a bit later when that has just failed. */
  renew(now: number): void {
    const run = this.#servingRun;
    if (run === undefined || now < this.#renewalAt) return;
    // Two at a time are enough: one that finishes what it has is waited for, as long as there is time.
    const isUrgent = now >= (run.freshUntil + run.tokenExpiresAt) / 2;
    if (isUrgent || this.#lives.leaving.length === 0) this.#apply({ is: 'renewal' });
  }

  /** Only when no call is in flight. */
  sleep(why: string): void {
    this.#apply({ is: 'sleep' }, why);
  }

  close(error: RpcError): void {
    this.#apply({ is: 'close' }, 'the session was closed', error);
  }

  /** Stops those that were replaced and have answered all they owed. */
  release(): void {
    for (const life of this.#lives.leaving) {
      if (!this.#options.owes(life)) this.#apply({ is: 'quiet', life }, 'another one took over');
    }
  }

  write(life: Life, line: Buffer, key?: number): 'clogged' | undefined {
    const run = this.#runs.get(life);
    if (run?.waiting !== undefined) return this.#enqueue(run.waiting, line, key);
    // To a child that has just ended nothing is written; its end, on its way to us, answers the call.
    return run?.child?.write(line) === 'clogged' ? 'clogged' : undefined;
  }

  /** Takes a call back that its child has not been given yet; false when it has. */
  withdraw(life: Life, key: number): boolean {
    const waiting = this.#runs.get(life)?.waiting;
    const at = waiting?.findIndex((item) => item.key === key) ?? -1;
    if (at === -1) return false;
    waiting?.splice(at, 1);
    return true;
  }

  #apply(event: LifeEvent, why = 'it is no longer needed', error = failures.sessionClosed): void {
    const { lives, effects } = step(this.#lives, event);
    this.#lives = lives;
    for (const effect of effects) {
      if (effect.do === 'start') this.#start(effect.life);
      else if (effect.do === 'serve') this.#serve(effect.life);
      else this.#stop(effect.life, why, error);
    }
    this.release();
  }

  #start(life: Life): void {
    const startedAt = this.#options.now();
    const never = Number.POSITIVE_INFINITY;
    const run: Run = { child: undefined, startedAt, tokenExpiresAt: never, freshUntil: never, waiting: [] };
    this.#runs.set(life, run);
    this.#bringUp(life, run).then(
      (error) => (error === undefined ? this.#apply({ is: 'up', life }) : this.#failStart(life, error)),
      (error: unknown) => {
        this.#options.log.error('session.start-failed', { error: describeError(error) });
        this.#down(life, failures.brokenBridge);
      },
    );
  }

  async #bringUp(life: Life, run: Run): Promise<RpcError | undefined> {
    const launched = await this.#options.launch(this.#predecessorOf(life), {
      onLine: (line, about) =>
        this.#runs.has(life) ? this.#options.hear(life, line, about) : { settled: false, drain: undefined },
      onEnd: (end) => this.#ended(life, end),
    });
    if ('code' in launched) return launched;
    if (!this.#runs.has(life)) {
      void launched.child.stop('it was no longer needed once it had started');
      return failures.sessionClosed;
    }
    run.child = launched.child;
    run.tokenExpiresAt = launched.tokenExpiresAt;
    run.freshUntil = launched.freshUntil;
    return this.#options.greet(life, launched.child);
  }

  #failStart(life: Life, error: RpcError): void {
    if (!this.#runs.has(life)) return;
    const { message, data } = error;
    // What passes by itself would fill the log.
    const level = PASSING.has(String(data?.reason)) ? 'debug' : 'warn';
    this.#options.log[level]('child.start-failed', { reason: data?.reason, message });
    this.#down(life, error);
  }

  #serve(life: Life): void {
    const run = this.#runs.get(life);
    if (run === undefined) return;
    const waiting = run.waiting ?? [];
    run.waiting = undefined;
    this.#renewalAt = 0;
    for (const { line } of waiting) this.write(life, line);
    this.#options.onServing(this.#options.now() - run.startedAt);
  }

  #ended(life: Life, end: ChildEnd): void {
    const run = this.#runs.get(life);
    if (run === undefined) return;
    this.#crashes = afterCrash(this.#crashes, run.startedAt, this.#options.now());
    this.#down(life, failures.childEnded(end));
  }

  #down(life: Life, error: RpcError): void {
    if (!this.#runs.has(life)) return;
    this.#renewalAt = this.#options.now() + RENEWAL_RETRY_MS;
    this.#apply({ is: 'down', life }, 'its start failed', error);
  }

  #stop(life: Life, why: string, error: RpcError): void {
    const child = this.#runs.get(life)?.child;
    this.#runs.delete(life);
    this.#options.onLost(life, error);
    void child?.stop(why);
  }

  get #servingRun(): Run | undefined {
    return this.serving === undefined ? undefined : this.#runs.get(this.serving);
  }

  #predecessorOf(life: Life): Predecessor | undefined {
    const ends = [...this.#runs].filter(([other]) => other !== life).map(([, run]) => run.tokenExpiresAt);
    return ends.length === 0 ? undefined : { tokenExpiresAt: Math.max(...ends) };
  }

  /** What waits for a child that is starting is bounded like what waits for one that does not read. */
  #enqueue(queue: NonNullable<Run['waiting']>, line: Buffer, key: number | undefined): 'clogged' | undefined {
    const { maxQueuedLines, maxQueuedBytes } = this.#options;
    const waiting = queue.reduce((bytes, item) => bytes + item.line.length, 0);
    if (queue.length >= maxQueuedLines || waiting > maxQueuedBytes) return 'clogged';
    queue.push({ line, key });
    return undefined;
  }
}
