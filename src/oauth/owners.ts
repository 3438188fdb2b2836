/** Things by their owner, oldest first. Every verb costs the same however many things and owners there are. */
export class Owners<Id> {
  readonly #ids = new Map<string, Set<Id>>();
  /** Owners by how many things they own; those that came to that number first stand first. */
  readonly #bySize: Set<string>[] = [];

  count(owner: string): number {
    return this.#ids.get(owner)?.size ?? 0;
  }

  oldest(owner: string): Id | undefined {
    return this.#ids.get(owner)?.values().next().value;
  }

  oldestOfLargest(): Id | undefined {
    const owner = this.#bySize.at(-1)?.values().next().value;
    return owner === undefined ? undefined : this.oldest(owner);
  }

  add(owner: string, id: Id): void {
    const own = this.#ids.get(owner) ?? new Set();
    this.#ids.set(owner, own);
    this.#resize(owner, own, () => own.add(id));
  }

  remove(owner: string, id: Id): void {
    const own = this.#ids.get(owner);
    if (own === undefined) return;
    this.#resize(owner, own, () => own.delete(id));
    if (own.size === 0) this.#ids.delete(owner);
  }

  #resize(owner: string, own: ReadonlySet<Id>, change: () => void): void {
    this.#bySize[own.size]?.delete(owner);
    change();
    if (own.size > 0) {
      this.#bySize[own.size] ??= new Set();
      this.#bySize[own.size]?.add(owner);
    }
    while (this.#bySize.at(-1)?.size === 0) this.#bySize.pop();
  }
}
