/** How many subscriptions each user has open, whatever the era of the server: each is a connection that is kept open. */
import type { UserId } from '../base/ids.js';

export class ListeningPlaces {
  readonly #perUser: number;
  readonly #taken = new Map<UserId, number>();

  constructor(perUser: number) {
    this.#perUser = perUser;
  }

  /** What is returned gives the place back, once; undefined when the user has them all. */
  take(user: UserId): (() => void) | undefined {
    if ((this.#taken.get(user) ?? 0) >= this.#perUser) return undefined;
    this.#count(user, 1);
    let isTaken = true;
    return () => {
      if (isTaken) this.#count(user, -1);
      isTaken = false;
    };
  }

  /** Of all users. */
  get size(): number {
    return [...this.#taken.values()].reduce((sum, taken) => sum + taken, 0);
  }

  #count(user: UserId, by: 1 | -1): void {
    const taken = (this.#taken.get(user) ?? 0) + by;
    if (taken > 0) this.#taken.set(user, taken);
    else this.#taken.delete(user);
  }
}
