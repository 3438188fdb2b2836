/**
 * The public keys of clients, from the address each names. Fetched through the guard, one fetch at a time, and never more
 * often than the pause: an address that fails or lacks a key cannot be made to cost its host, or us, a fetch a request.
 */
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import { z } from 'zod';
import { type Clock, DAY, MINUTE, SECOND } from '../base/clock.js';
import { ExpiringMap } from '../base/expiring-map.js';
import { parseJson } from '../base/fetch.js';
import type { FetchPlaces } from './fetch-places.js';

const FRESH_MS = 10 * MINUTE;
/** A key that is not in the set may have come since: asked for again after this pause. */
const PAUSE_MS = 30 * SECOND;
const CAPACITY = 200;

const keySet = z.object({ keys: z.array(z.looseObject({ kty: z.string() })).max(100) });

interface Cached {
  /** The last good set, if there ever was one. */
  readonly find: ReturnType<typeof createLocalJWKSet> | undefined;
  /** The last try, and whether it brought that set. */
  readonly triedAt: number;
  readonly good: boolean;
}

export class KeySets {
  readonly #places: FetchPlaces;
  readonly #now: Clock;
  readonly #cache: ExpiringMap<string, Cached>;
  readonly #fetching = new Map<string, Promise<Cached | 'no_place'>>();

  constructor(places: FetchPlaces, now: Clock) {
    this.#places = places;
    this.#now = now;
    this.#cache = new ExpiringMap({ now, ttlMs: 7 * DAY, capacity: CAPACITY });
  }

  /**
   * The key at `uri` that a token says it was signed with. Throws jose's errors when there is none, or more than one, and
   * `KeySetUnavailable` when there may be one that cannot be had now. `network` is where the token came from.
   */
  at(uri: string, network: string): JWTVerifyGetKey {
    return async (header, token) => {
      const first = await this.#load(uri, network);
      try {
        return await lookUp(first)(header, token);
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
        const again = await this.#load(uri, network, 'lacks a key');
        // The host did not say that there is no such key.
        if (!again.good) throw new KeySetUnavailable();
        if (again === first) throw error;
        return lookUp(again)(header, token);
      }
    };
  }

  async #load(uri: string, network: string, lack?: 'lacks a key'): Promise<Cached> {
    const cached = this.#cache.get(uri);
    if (cached !== undefined) {
      const age = this.#now() - cached.triedAt;
      if (age < PAUSE_MS || (cached.good && lack === undefined && age < FRESH_MS)) return cached;
    }
    const running =
      this.#fetching.get(uri) ??
      this.#refresh(uri, network, cached).finally(() => this.#fetching.delete(uri));
    this.#fetching.set(uri, running);
    const loaded = await running;
    if (loaded !== 'no_place') return loaded;
    if (cached === undefined || lack !== undefined) throw new KeySetUnavailable();
    return cached;
  }

  async #refresh(uri: string, network: string, before: Cached | undefined): Promise<Cached | 'no_place'> {
    const answer = await this.#places.fetch(uri, network, { timeoutMs: 5 * SECOND, maxBytes: 64 * 1024 });
    // No try: the next one need not wait for the pause.
    if (answer === 'no_place') return answer;
    const body = 'failure' in answer || answer.status !== 200 ? undefined : parseJson(answer.text);
    const { success: good, data } = keySet.safeParse(body);
    const find = good ? createLocalJWKSet(data as JSONWebKeySet) : before?.find;
    const next: Cached = { find, triedAt: this.#now(), good };
    this.#cache.set(uri, next);
    return next;
  }
}

/** The host of the keys fails, or we have no place to ask it, which says nothing about the client. */
export class KeySetUnavailable extends Error {}

function lookUp({ find }: Cached): NonNullable<Cached['find']> {
  if (find === undefined) throw new KeySetUnavailable();
  return find;
}
