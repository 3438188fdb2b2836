/**
 * Pending authorizations: unfinished logins, in memory only. Its steps meet nowhere else: each request names the
 * pending authorization, proves that it comes from the browser that began it, and moves it one step on.
 */
import type { Clock } from '../base/clock.js';
import { ExpiringMap } from '../base/expiring-map.js';
import {
  type Brand,
  type Randomness,
  randomId,
  randomToken,
  type Sha256,
  sameText,
  sha256,
} from '../base/ids.js';
import type { AuthorizationRequest } from './authorization.js';

export type PendingId = Brand<string, 'PendingId'>;

type Step =
  | { readonly at: 'consent' }
  | { readonly at: 'upstream'; readonly state: string; readonly verifier: string }
  | { readonly at: 'completing'; readonly state: string };

interface Pending {
  readonly id: PendingId;
  /** SHA-256 of the browser's cookie. */
  readonly browser: Sha256;
  readonly csrf: string;
  readonly request: AuthorizationRequest;
  step: Step;
}

/** What the consent page shows and posts back. */
export interface ConsentForm {
  readonly id: PendingId;
  readonly csrf: string;
  readonly request: AuthorizationRequest;
}

/** A browser with more tabs than this, or a client with more logins, loses its oldest one: nobody else's. */
const MAX_PER_BROWSER = 30;
const MAX_PER_CLIENT = 2000;

/** Ids by their owner, oldest first, so that a cap costs the same however many there are of others. */
class Owners {
  readonly #ids = new Map<string, Set<PendingId>>();
  readonly #cap: number;

  constructor(cap: number) {
    this.#cap = cap;
  }

  add(owner: string, id: PendingId): void {
    this.#ids.set(owner, (this.#ids.get(owner) ?? new Set()).add(id));
  }

  remove(owner: string, id: PendingId): void {
    const own = this.#ids.get(owner);
    own?.delete(id);
    if (own?.size === 0) this.#ids.delete(owner);
  }

  /** The one that goes when this owner begins another. */
  surplus(owner: string): PendingId | undefined {
    const own = this.#ids.get(owner);
    return own !== undefined && own.size >= this.#cap ? own.values().next().value : undefined;
  }

  any(owner: string): PendingId | undefined {
    return this.#ids.get(owner)?.values().next().value;
  }
}

export interface PendingAuthorizationsOptions {
  readonly now: Clock;
  readonly random: Randomness;
  readonly ttlMs: number;
  readonly capacity: number;
}

export class PendingAuthorizations {
  readonly #random: Randomness;
  readonly #entries: ExpiringMap<string, Pending>;
  /** Whose they were, for their time: so that a second answer is told from one that came too late. */
  readonly #answered: ExpiringMap<string, Sha256>;
  readonly #byBrowser = new Owners(MAX_PER_BROWSER);
  readonly #byClient = new Owners(MAX_PER_CLIENT);

  constructor({ now, random, ttlMs, capacity }: PendingAuthorizationsOptions) {
    this.#random = random;
    this.#answered = new ExpiringMap({ now, ttlMs, capacity });
    this.#entries = new ExpiringMap({
      now,
      ttlMs,
      capacity,
      onGone: ({ id, browser, request }) => {
        this.#byBrowser.remove(browser, id);
        this.#byClient.remove(request.client.id, id);
      },
    });
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Drops expired ones; the broker calls it every minute. */
  sweep(): void {
    this.#entries.sweep();
    this.#answered.sweep();
  }

  /** Begins one for the browser whose cookie value is `browser`. */
  open(asked: AuthorizationRequest, browser: string): ConsentForm {
    const id = randomId<PendingId>(this.#random, 'pa_');
    const csrf = randomToken(this.#random, '');
    const owner = sha256(browser);
    const request = this.#shareClient(asked);
    // A client that is a document, or the operator's, is shared: its cap would let strangers end everybody's logins.
    const own = request.client.kind === 'dynamic' ? this.#byClient.surplus(request.client.id) : undefined;
    for (const surplus of [this.#byBrowser.surplus(owner), own]) {
      if (surplus !== undefined) this.#entries.delete(surplus);
    }
    this.#entries.set(id, { id, browser: owner, csrf, request, step: { at: 'consent' } });
    this.#byBrowser.add(owner, id);
    this.#byClient.add(request.client.id, id);
    return { id, csrf, request };
  }

  /** The pending authorization a consent form speaks of, if form and browser are the ones it began with. */
  consented(id: string, csrf: string, browser: string | undefined): ConsentForm | undefined {
    const pending = this.#find(id, browser);
    return pending !== undefined && sameText(pending.csrf, csrf) ? pending : undefined;
  }

  /** Whether this browser has answered it already: by another click, in another tab, before it went back. */
  isAnswered(id: string, browser: string | undefined): boolean {
    const owner = this.#answered.get(id);
    return browser !== undefined && owner !== undefined && sameText(owner, sha256(browser));
  }

  /**
   * The user said yes: from now on an upstream answer is awaited. Saying it again (back button, double click)
   * starts that leg anew, even while an answer to the older one is looked at: the browser has given that one up.
   */
  awaitUpstream(id: PendingId, verifier: string): string | undefined {
    const pending = this.#entries.get(id);
    if (pending === undefined) return undefined;
    const state = `${id}.${randomToken(this.#random, '')}`;
    pending.step = { at: 'upstream', state, verifier };
    return state;
  }

  /** It has its answer, whichever. */
  close(id: PendingId): void {
    const pending = this.#entries.get(id);
    if (pending !== undefined) this.#answered.set(id, pending.browser);
    this.#entries.delete(id);
  }

  /** Takes the upstream's answer, once: a second callback with the same state finds nothing. */
  takeUpstreamAnswer(
    state: string,
    browser: string | undefined,
  ):
    | { readonly request: AuthorizationRequest; readonly id: PendingId; readonly verifier: string }
    | undefined {
    const id = pendingIdOf(state);
    const pending = this.#find(id, browser);
    if (pending?.step.at !== 'upstream' || !sameText(pending.step.state, state)) return undefined;
    const { verifier } = pending.step;
    pending.step = { at: 'completing', state };
    return { request: pending.request, id: pending.id, verifier };
  }

  /** Whether the answer that `state` came with still counts: saying yes again meanwhile has made it void. */
  isCurrent(state: string): boolean {
    const step = this.#entries.get(pendingIdOf(state))?.step;
    return step?.at === 'completing' && step.state === state;
  }

  /** After a failure upstream: the same form can be sent again. */
  reopen(id: PendingId): ConsentForm | undefined {
    const pending = this.#entries.get(id);
    if (pending !== undefined) pending.step = { at: 'consent' };
    return pending;
  }

  /** A registration never changes, and may be large: all logins of its client share one copy. */
  #shareClient(asked: AuthorizationRequest): AuthorizationRequest {
    const other = this.#byClient.any(asked.client.id);
    const known = other === undefined ? undefined : this.#entries.get(other)?.request.client;
    return known?.kind === 'dynamic' ? { ...asked, client: known } : asked;
  }

  #find(id: string, browser: string | undefined): Pending | undefined {
    const pending = this.#entries.get(id);
    return browser !== undefined && pending !== undefined && sameText(pending.browser, sha256(browser))
      ? pending
      : undefined;
  }
}

/** The upstream state begins with the id it belongs to. */
export function pendingIdOf(state: string): string {
  return state.slice(0, Math.max(0, state.indexOf('.')));
}
