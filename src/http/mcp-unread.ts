/**
 * What a session has said and its clients have not read yet, in bytes. Beyond a limit whoever talks is asked to wait,
 * and in the end that is the child.
 */
import type { Drain } from '../backend/calls.js';

interface Jam {
  readonly drained: Promise<void>;
  readonly clear: () => void;
}

export class Unread {
  readonly #limit: number;
  #bytes = 0;
  #jam: Jam | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(bytes: number): Drain {
    this.#bytes += bytes;
    if (this.#bytes <= this.#limit) return undefined;
    this.#jam ??= startJam();
    return this.#jam.drained;
  }

  remove(bytes: number): void {
    this.#bytes -= bytes;
    if (this.#bytes > this.#limit) return;
    this.#jam?.clear();
    this.#jam = undefined;
  }
}

function startJam(): Jam {
  let clear: () => void = () => undefined;
  const drained = new Promise<void>((resolve) => {
    clear = resolve;
  });
  return { drained, clear };
}
