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
import { siteOf } from '../base/networks.js';
import type { AuthorizationRequest } from './authorization.js';
import type { UpstreamTokens } from './identity.js';
import { Owners } from './owners.js';

export type PendingId = Brand<string, 'PendingId'>;

type Step =
  | { readonly at: 'consent' }
  | { readonly at: 'upstream'; readonly state: string; readonly verifier: string }
  | { readonly at: 'completing'; readonly state: string }
  /** The tokens are here and what had to follow failed: the same form, or the same answer, goes on from here. */
  | { readonly at: 'received'; readonly state: string; readonly tokens: UpstreamTokens };

/** Where a sign-in comes from. */
export interface Origin {
  /** Value of the browser's cookie. */
  readonly browser: string;
  /** What its address belongs to. */
  readonly network: string;
}

interface Pending {
  readonly id: PendingId;
  readonly network: string;
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

/** What the upstream's answer is for, and what is there of it: a code to be redeemed, or the tokens already. */
export interface UpstreamAnswer extends ConsentForm {
  readonly state: string;
  readonly brings: { readonly verifier: string } | { readonly tokens: UpstreamTokens };
}

/** Why a request is not the next step of a pending authorization. All but `answered` look the same to whoever asked. */
export interface Misstep {
  readonly misstep: 'answered' | 'expired' | 'browser_differs' | 'csrf_differs' | 'state_differs';
  readonly client?: string;
}

export function isMisstep(value: object): value is Misstep {
  return 'misstep' in value;
}

/**
 * Whoever has more than this loses its own oldest one, nobody else's. A client's logins are counted for each network
 * apart: everybody uses the same few clients, so a cap on all logins of one would let a stranger end them.
 */
const MAX_PER_BROWSER = 30;
const MAX_PER_CLIENT_AND_NETWORK = 500;
const MAX_PER_NETWORK = 1000;

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
  readonly #byBrowser = new Owners<PendingId>();
  readonly #byClient = new Owners<PendingId>();
  readonly #byClientAndNetwork = new Owners<PendingId>();
  readonly #byNetwork = new Owners<PendingId>();
  readonly #bySite = new Owners<PendingId>();
  readonly #capacity: number;

  constructor({ now, random, ttlMs, capacity }: PendingAuthorizationsOptions) {
    this.#random = random;
    this.#capacity = capacity;
    this.#answered = new ExpiringMap({ now, ttlMs, capacity });
    this.#entries = new ExpiringMap({
      now,
      ttlMs,
      capacity,
      onGone: (gone) => {
        for (const [owners, owner] of this.#ownersOf(gone)) owners.remove(owner, gone.id);
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

  /** Begins one. */
  open(asked: AuthorizationRequest, { browser, network }: Origin): ConsentForm {
    const id = randomId<PendingId>(this.#random, 'pa_');
    const csrf = randomToken(this.#random, '');
    const request = this.#shareClient(asked);
    const step = { at: 'consent' } as const;
    const pending: Pending = { id, browser: sha256(browser), network, csrf, request, step };
    for (const [owners, owner, cap] of this.#ownersOf(pending)) {
      const surplus = owners.count(owner) < cap ? undefined : owners.oldest(owner);
      if (surplus !== undefined) this.#entries.delete(surplus);
    }
    if (this.#entries.size >= this.#capacity) this.#makeRoom();
    this.#entries.set(id, pending);
    for (const [owners, owner] of this.#ownersOf(pending)) owners.add(owner, id);
    return pending;
  }

  /** The pending authorization a consent form speaks of, if form and browser are the ones it began with. */
  consented(id: string, csrf: string, browser: string | undefined): ConsentForm | Misstep {
    const pending = this.#find(id, browser);
    if (isMisstep(pending) || sameText(pending.csrf, csrf)) return pending;
    return { misstep: 'csrf_differs', client: pending.request.client.id };
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
  takeUpstreamAnswer(state: string, browser: string | undefined): UpstreamAnswer | Misstep {
    const pending = this.#find(pendingIdOf(state), browser);
    if (isMisstep(pending)) return pending;
    if (pending.step.at === 'consent' || !sameText(pending.step.state, state))
      return { misstep: 'state_differs', client: pending.request.client.id };
    // The same answer again, while the first one is looked at.
    if (pending.step.at === 'completing') return { misstep: 'answered' };
    return this.#take(pending, pending.step);
  }

  /** Goes on with tokens that were received before, if there are any. */
  resume(id: PendingId): UpstreamAnswer | undefined {
    const pending = this.#entries.get(id);
    return pending?.step.at === 'received' ? this.#take(pending, pending.step) : undefined;
  }

  /** Whether the answer that `state` came with still counts: saying yes again meanwhile has made it void. */
  isCurrent(state: string): boolean {
    return this.#current(state) !== undefined;
  }

  /** After a failure upstream: the same form can be sent again. */
  reopen(state: string): ConsentForm | undefined {
    const pending = this.#current(state);
    if (pending !== undefined) pending.step = { at: 'consent' };
    return pending;
  }

  /** After a failure that came later: the same form, or the same callback, goes on with what was received. */
  hold(state: string, tokens: UpstreamTokens): ConsentForm | undefined {
    const pending = this.#current(state);
    if (pending !== undefined) pending.step = { at: 'received', state, tokens };
    return pending;
  }

  #take(pending: Pending, step: Extract<Step, { at: 'upstream' | 'received' }>): UpstreamAnswer {
    const { id, csrf, request } = pending;
    const { state } = step;
    pending.step = { at: 'completing', state };
    const brings = step.at === 'received' ? { tokens: step.tokens } : { verifier: step.verifier };
    return { id, csrf, request, state, brings };
  }

  #current(state: string): Pending | undefined {
    const pending = this.#entries.get(pendingIdOf(state));
    return pending?.step.at === 'completing' && pending.step.state === state ? pending : undefined;
  }

  #ownersOf({
    browser,
    network,
    request,
  }: Pending): readonly (readonly [owners: Owners<PendingId>, owner: string, cap: number])[] {
    const client = request.client.id;
    return [
      [this.#byBrowser, browser, MAX_PER_BROWSER],
      [this.#byClientAndNetwork, `${client} ${network}`, MAX_PER_CLIENT_AND_NETWORK],
      [this.#byNetwork, network, MAX_PER_NETWORK],
      [this.#bySite, siteOf(network), Number.POSITIVE_INFINITY],
      [this.#byClient, client, Number.POSITIVE_INFINITY],
    ];
  }

  /** Room is made by the site that takes most of it: a flood from a few of them ends its own logins. */
  #makeRoom(): void {
    this.#entries.sweep();
    const victim = this.#entries.size < this.#capacity ? undefined : this.#bySite.oldestOfLargest();
    if (victim !== undefined) this.#entries.delete(victim);
  }

  /** A registration never changes, and may be large: all logins of its client share one copy. */
  #shareClient(asked: AuthorizationRequest): AuthorizationRequest {
    const other = this.#byClient.oldest(asked.client.id);
    const known = other === undefined ? undefined : this.#entries.get(other)?.request.client;
    return known?.kind === 'dynamic' ? { ...asked, client: known } : asked;
  }

  #find(id: string, browser: string | undefined): Pending | Misstep {
    const asking = sha256(browser ?? '');
    const pending = this.#entries.get(id);
    if (pending !== undefined) {
      if (browser !== undefined && sameText(pending.browser, asking)) return pending;
      return { misstep: 'browser_differs', client: pending.request.client.id };
    }
    // By another click, in another tab, before the browser went back.
    const answered = this.#answered.get(id);
    const isOwn = browser !== undefined && answered !== undefined && sameText(answered, asking);
    return { misstep: isOwn ? 'answered' : 'expired' };
  }
}

/** The upstream state begins with the id it belongs to. */
function pendingIdOf(state: string): string {
  return state.slice(0, Math.max(0, state.indexOf('.')));
}
