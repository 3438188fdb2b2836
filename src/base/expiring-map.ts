/** A bounded map whose entries die at a fixed age. It has no timer of its own: the owner calls `sweep`. */
import type { Clock } from './clock.js';

export interface ExpiringMapOptions {
  readonly now: Clock;
  readonly ttlMs: number;
  /** When full, the oldest entry makes room: a flood ages out, it does not lock newcomers out. */
  readonly capacity: number;
}

export class ExpiringMap<K, V> {
  readonly #entries = new Map<K, { value: V; expiresAt: number }>();
  readonly #options: ExpiringMapOptions;

  constructor(options: ExpiringMapOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  set(key: K, value: V): void {
    this.#entries.delete(key);
    while (this.#entries.size >= this.#options.capacity) {
      const oldest = this.#entries.keys().next();
      if (oldest.done) break;
      this.#entries.delete(oldest.value);
    }
    this.#entries.set(key, { value, expiresAt: this.#options.now() + this.#options.ttlMs });
  }

  get(key: K): V | undefined {
    const entry = this.#entries.get(key);
    return entry !== undefined && entry.expiresAt > this.#options.now() ? entry.value : undefined;
  }

  /** What has not been swept, oldest first. */
  *values(): IterableIterator<V> {
    for (const { value } of this.#entries.values()) yield value;
  }

  delete(key: K): boolean {
    return this.#entries.delete(key);
  }

  /** Drops what has expired. Entries share one ttl, so insertion order is expiry order. */
  sweep(): void {
    const now = this.#options.now();
    for (const [key, entry] of this.#entries) {
      if (entry.expiresAt > now) return;
      this.#entries.delete(key);
    }
  }
}
