/**
 * The children of one session, as `lives.ts` decides: started, greeted, handed what waited, and stopped. Whatever is
 * started here is stopped here.
 */
import { type Clock, MINUTE, SECOND } from '../base/clock.js';
import { describeError, type Log } from '../base/log.js';
import type { RpcError } from '../mcp/protocol.js';
import type { Heard } from './calls.js';
import type { ChildEnd } from './child.js';
import { afterCrash, NO_CRASHES } from './crashes.js';
import * as failures from './failures.js';
import { allOf, type Life, type LifeEvent, type LifeState, NO_LIFE, step } from './lives.js';

/** The way to a child. */
export interface Link {
  /** `line` ends with its line break. */
  write(line: Buffer): 'written' | 'clogged' | 'ended';
  stop(why: string): Promise<unknown>;
}

export interface LinkEvents {
  readonly onLine: (line: Buffer) => Heard;
  readonly onEnd: (end: ChildEnd) => void;
}

export interface Launched {
  readonly child: Link;
  readonly tokenExpiresAt: number;
}

export interface ChildrenOptions {
  readonly now: Clock;
  readonly log: Log;
  readonly maxQueuedLines: number;
  readonly maxQueuedBytes: number;
  /** `takesOver`: the session has a child already, so a full house is no reason to refuse. */
  readonly launch: (takesOver: boolean, events: LinkEvents) => Promise<Launched | RpcError>;
  /** Tells a new child what the conversation has settled; or why it cannot serve. */
  readonly greet: (life: Life, child: Link) => Promise<RpcError | undefined>;
  readonly hear: (life: Life, line: Buffer) => Heard;
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
  /** Lines for a child that does not serve yet. */
  waiting: Buffer[] | undefined;
}

/** A token this close to its end calls for the next child; a short-lived one works for two thirds of its life. */
const TOKEN_MARGIN_MS = MINUTE;
const RENEWAL_RETRY_MS = 5 * SECOND;

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
    } else if (this.#tokenLeft(now).ms <= 0) {
      this.#apply({ is: 'lapse' });
    }
    return this.serving ?? failures.sessionClosed;
  }

  /** Whether the token of the child that serves is about to end. */
  isEnding(now: number): boolean {
    const { ms, margin } = this.#tokenLeft(now);
    return ms < margin;
  }

  /** Brings up the next child while the present one serves; a bit later when that has just failed. */
  renew(now: number): void {
    if (now >= this.#renewalAt) this.#apply({ is: 'renewal' });
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

  write(life: Life, line: Buffer): 'clogged' | undefined {
    const run = this.#runs.get(life);
    if (run?.waiting !== undefined) return this.#enqueue(run.waiting, line);
    // To a child that has just ended nothing is written; its end, on its way to us, answers the call.
    return run?.child?.write(line) === 'clogged' ? 'clogged' : undefined;
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
    const run: Run = { child: undefined, startedAt, tokenExpiresAt: Number.POSITIVE_INFINITY, waiting: [] };
    this.#runs.set(life, run);
    this.#bringUp(life, run).then(
      (error) => (error === undefined ? this.#apply({ is: 'up', life }) : this.#down(life, error)),
      (error: unknown) => {
        this.#options.log.error('session.start-failed', { error: describeError(error) });
        this.#down(life, failures.brokenBridge);
      },
    );
  }

  async #bringUp(life: Life, run: Run): Promise<RpcError | undefined> {
    const launched = await this.#options.launch(allOf(this.#lives).length > 1, {
      onLine: (line) =>
        this.#runs.has(life) ? this.#options.hear(life, line) : { settled: false, drain: undefined },
      onEnd: (end) => this.#ended(life, end),
    });
    if ('code' in launched) return launched;
    if (!this.#runs.has(life)) {
      void launched.child.stop('it was no longer needed once it had started');
      return failures.sessionClosed;
    }
    run.child = launched.child;
    run.tokenExpiresAt = launched.tokenExpiresAt;
    return this.#options.greet(life, launched.child);
  }

  #serve(life: Life): void {
    const run = this.#runs.get(life);
    if (run === undefined) return;
    const waiting = run.waiting ?? [];
    run.waiting = undefined;
    this.#renewalAt = 0;
    for (const line of waiting) this.write(life, line);
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

  /** Of the child that serves; no end when there is none. */
  #tokenLeft(now: number): { readonly ms: number; readonly margin: number } {
    const run = this.serving === undefined ? undefined : this.#runs.get(this.serving);
    if (run === undefined) return { ms: Number.POSITIVE_INFINITY, margin: 0 };
    const { tokenExpiresAt, startedAt } = run;
    return { ms: tokenExpiresAt - now, margin: Math.min(TOKEN_MARGIN_MS, (tokenExpiresAt - startedAt) / 3) };
  }

  /** What waits for a child that is starting is bounded like what waits for one that does not read. */
  #enqueue(queue: Buffer[], line: Buffer): 'clogged' | undefined {
    const { maxQueuedLines, maxQueuedBytes } = this.#options;
    const waiting = queue.reduce((bytes, { length }) => bytes + length, 0);
    if (queue.length >= maxQueuedLines || waiting > maxQueuedBytes) return 'clogged';
    queue.push(line);
    return undefined;
  }
}
