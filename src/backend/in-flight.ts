/**
 * Things in flight, each under a number that is never used again. A Map would do, but one that changes with every request
 * keeps the garbage collector busy: V8 replaces its table time and again, and each old table, once it is promoted, holds
 * the next and all that was in flight then (measured: a fifth of all that a call allocates outlived it).
 */
interface Slot<T> {
  readonly key: number;
  readonly value: T;
}

export class InFlight<T> {
  /** A power of two of places; a key stands where its last bits say. */
  #slots: (Slot<T> | undefined)[] = [undefined, undefined, undefined, undefined];
  #last: number;
  #size = 0;

  /** The first key is `first` or a little more. */
  constructor(first = 1) {
    this.#last = first - 1;
  }

  get size(): number {
    return this.#size;
  }

  /** The key it has from now on. Later keys are greater. */
  add(value: T): number {
    if (this.#size * 2 >= this.#slots.length) this.#grow();
    // Numbers whose place is taken are left out.
    do this.#last += 1;
    while (this.#slots[this.#placeOf(this.#last)] !== undefined);
    const key = this.#last;
    this.#slots[this.#placeOf(key)] = { key, value };
    this.#size += 1;
    return key;
  }

  get(key: number): T | undefined {
    const slot = this.#slots[this.#placeOf(key)];
    return slot?.key === key ? slot.value : undefined;
  }

  remove(key: number): T | undefined {
    const value = this.get(key);
    if (value === undefined) return undefined;
    this.#slots[this.#placeOf(key)] = undefined;
    this.#size -= 1;
    return value;
  }

  /** From the oldest to the newest, as they are now. */
  entries(): (readonly [key: number, value: T])[] {
    return this.#slots
      .flatMap((slot) => (slot === undefined ? [] : [[slot.key, slot.value] as const]))
      .sort(([a], [b]) => a - b);
  }

  values(): T[] {
    return this.entries().map(([, value]) => value);
  }

  #placeOf(key: number): number {
    return key & (this.#slots.length - 1);
  }

  #grow(): void {
    const slots = this.#slots;
    this.#slots = Array.from({ length: slots.length * 2 }, () => undefined);
    for (const slot of slots) if (slot !== undefined) this.#slots[this.#placeOf(slot.key)] = slot;
  }
}
