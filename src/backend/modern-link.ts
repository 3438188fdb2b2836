/**
 * A modern child behind the face of a legacy one: `mcp/modern-child.ts` between a child and its session. It holds the
 * state of that translation, and says again to whoever asks how fast the other side reads.
 */
import { fromChild, fromClient, type ModernChild, newModernChild } from '../mcp/modern-child.js';
import { type Heard, together } from './calls.js';
import type { Link, LinkEvents } from './children.js';

export class ModernLink implements Link {
  readonly #hear: LinkEvents['onLine'];
  #child: Link | undefined;
  #state: ModernChild;

  /** `hear` is the session's ear. */
  constructor(hear: LinkEvents['onLine'], maxHeldBytes: number) {
    this.#hear = hear;
    this.#state = newModernChild(maxHeldBytes);
  }

  /** The child, once it is there. */
  attach(child: Link): this {
    this.#child = child;
    return this;
  }

  /** What the child does not read has not been said: the state stays as it was. */
  write(line: Buffer): 'written' | 'clogged' | 'ended' {
    const { state, toChild, toClient } = fromClient(this.#state, line);
    const written = this.#say(toChild);
    if (written === 'clogged') return written;
    this.#state = state;
    // Not within the call that asks: its session has not noted yet that it did.
    for (const message of toClient) queueMicrotask(() => this.#hear(message));
    return written;
  }

  /** A line of the child. */
  hear(line: Buffer): Heard {
    const { state, toChild, toClient, about } = fromChild(this.#state, line);
    this.#state = state;
    this.#say(toChild);
    const call = about === undefined ? undefined : Number(about);
    const [first, ...more] = toClient.map((message) => this.#hear(message, call));
    if (first === undefined) return { settled: false, drain: undefined };
    return more.length === 0 ? first : asOne([first, ...more]);
  }

  stop(why: string): Promise<unknown> {
    return this.#child?.stop(why) ?? Promise.resolve();
  }

  #say(lines: readonly Buffer[]): 'written' | 'clogged' | 'ended' {
    for (const line of lines) {
      const written = this.#child?.write(line) ?? 'ended';
      if (written !== 'written') return written;
    }
    return 'written';
  }
}

function asOne(heard: readonly Heard[]): Heard {
  return {
    settled: heard.some(({ settled }) => settled),
    drain: together(heard.map(({ drain }) => drain)),
  };
}
