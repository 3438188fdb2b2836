/**
 * Strangers make us fetch: the documents and keys of clients that they name. So few fetches run at once, and of those few
 * one host and one caller's network get a part only: whoever is slow, or asks for much, keeps nobody else's client out.
 */
import { type Clock, MINUTE } from '../base/clock.js';
import type { Log } from '../base/log.js';
import { siteOf } from '../base/networks.js';
import type { PublicFailure, PublicFetch, PublicFetchOptions, PublicResponse } from '../base/public-fetch.js';

const PLACES = { all: 50, host: 5, network: 5 };

export interface FetchPlacesDeps {
  readonly fetch: PublicFetch;
  readonly now: Clock;
  readonly log: Log;
}

export class FetchPlaces {
  readonly #deps: FetchPlacesDeps;
  readonly #taken = new Map<string, number>();
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(deps: FetchPlacesDeps) {
    this.#deps = deps;
  }

  /**
   * The answer; or that there is no place now, which says nothing about the client and passes within seconds.
   * `network` is the name (base/networks.ts) of where the request came from that made us ask.
   */
  async fetch(
    url: string,
    network: string,
    options: PublicFetchOptions,
  ): Promise<PublicResponse | PublicFailure | 'no_place'> {
    const host = URL.canParse(url) ? new URL(url).hostname : '';
    const places = [
      { key: 'all', most: PLACES.all },
      { key: `host ${host}`, most: PLACES.host },
      { key: `network ${siteOf(network)}`, most: PLACES.network },
    ];
    const full = places.find(({ key, most }) => this.#count(key) >= most);
    if (full !== undefined) {
      this.#tell(full.key);
      return 'no_place';
    }
    for (const { key } of places) this.#taken.set(key, this.#count(key) + 1);
    try {
      return await this.#deps.fetch(url, options);
    } finally {
      for (const { key } of places) this.#leave(key);
    }
  }

  #count(key: string): number {
    return this.#taken.get(key) ?? 0;
  }

  #leave(key: string): void {
    const left = this.#count(key) - 1;
    if (left > 0) this.#taken.set(key, left);
    else this.#taken.delete(key);
  }

  /** Once a minute: whoever fills the places shall not fill the log. */
  #tell(full: string): void {
    const { now, log } = this.#deps;
    if (now() - this.#toldAt < MINUTE) return;
    this.#toldAt = now();
    log.warn('fetch.no_place', { full });
  }
}
