/** A bounded map whose entries die at a fixed age. It has no timer of its own: the owner calls `sweep`. */
import type { Clock } from './clock.js';

export interface ExpiringMapOptions<V> {
  readonly now: Clock;
  readonly ttlMs: number;
  /** When full, the oldest entry makes room: a flood ages out, it does not lock newcomers out. */
  readonly capacity: number;
  /** Told of every entry that goes, for whatever reason. */
  readonly onGone?: (value: V) => void;
}

export class ExpiringMap<K, V> {
  readonly #entries = new Map<K, { value: V; expiresAt: number }>();
  readonly #options: ExpiringMapOptions<V>;

  constructor(options: ExpiringMapOptions<V>) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  set(key: K, value: V): void {
    this.delete(key);
    while (this.#entries.size >= this.#options.capacity) {
      const oldest = this.#entries.keys().next();
      if (oldest.done) break;
      this.delete(oldest.value);
    }
    this.#entries.set(key, { value, expiresAt: this.#options.now() + this.#options.ttlMs });
  }

  get(key: K): V | undefined {
    const entry = this.#entries.get(key);
    return entry !== undefined && entry.expiresAt > this.#options.now() ? entry.value : undefined;
  }

  delete(key: K): boolean {
    const entry = this.#entries.get(key);
    if (entry === undefined) return false;
    this.#entries.delete(key);
    this.#options.onGone?.(entry.value);
    return true;
  }

  /** Drops what has expired. Entries share one ttl, so insertion order is expiry order. */
  sweep(): void {
    const now = this.#options.now();
    for (const [key, entry] of this.#entries) {
      if (entry.expiresAt > now) return;
      this.delete(key);
    }
  }
}
