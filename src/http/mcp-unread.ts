/**
 * What a session, or all sessions of a user, have said and their clients have not read yet, in bytes. Beyond a limit
 * whoever talks is asked to wait, and in the end that is the child.
 */
import type { Drain } from '../backend/calls.js';

interface Jam {
  readonly drained: Promise<void>;
  readonly clear: () => void;
}

export class Unread {
  readonly #limit: number;
  readonly #whole: Unread | undefined;
  #bytes = 0;
  #jam: Jam | undefined;

  /** `whole`: what this is a part of. */
  constructor(limit: number, whole?: Unread) {
    this.#limit = limit;
    this.#whole = whole;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Settles when it is within its limit; undefined when it is. */
  get drained(): Drain {
    return this.#jam?.drained;
  }

  add(bytes: number): Drain {
    const whole = this.#whole?.add(bytes);
    this.#bytes += bytes;
    if (this.#bytes > this.#limit) this.#jam ??= startJam();
    if (whole === undefined || this.#jam === undefined) return whole ?? this.drained;
    return Promise.all([whole, this.#jam.drained]).then(() => undefined);
  }

  remove(bytes: number): void {
    this.#whole?.remove(bytes);
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
