/** What is kept for the clients of one user who may come back, in all their sessions. Beyond the limit the oldest goes. */
export interface Shelved {
  /** Keeps nothing any more, and says so. */
  forget(which: 'all'): void;
}

export class Shelf {
  readonly #limit: number;
  /** How much each keeps, in the order of their newest events. */
  readonly #kept = new Map<Shelved, number>();
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** So much it keeps now; if that is too much, others make room. */
  put(one: Shelved, bytes: number): void {
    this.#bytes -= this.#kept.get(one) ?? 0;
    this.#kept.delete(one);
    if (bytes === 0) return;
    this.#kept.set(one, bytes);
    this.#bytes += bytes;
    for (const oldest of this.#kept.keys()) {
      if (this.#bytes <= this.#limit || oldest === one) return;
      oldest.forget('all');
    }
  }
}
