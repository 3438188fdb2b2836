/**
 * Reads POST bodies without ever holding more than the caps, one for a body and one for all that a user has under way,
 * and decides nothing about what is in them.
 */
import type { Context } from 'hono';
import type { UserId } from '../base/ids.js';
import { MESSAGES_PER_USER } from './mcp-ledger.js';

export type BodyFault = 'too large' | 'too many' | 'cut off';

export class Bodies {
  readonly #maxBytes: number;
  readonly #held = new Map<UserId, number>();

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Reads the body and holds its place until `use` is done with it. */
  async read<T>(c: Context, user: UserId, use: (body: Buffer | BodyFault) => Promise<T>): Promise<T> {
    const place = { bytes: 0 };
    try {
      return await use(await this.#read(c, user, place));
    } finally {
      this.#add(user, -place.bytes);
    }
  }

  async #read(c: Context, user: UserId, place: { bytes: number }): Promise<Buffer | BodyFault> {
    const take = (bytes: number): boolean => {
      place.bytes += bytes;
      return this.#add(user, bytes) <= this.#maxBytes * MESSAGES_PER_USER;
    };
    const length = c.req.header('content-length');
    try {
      // The HTTP parser holds a sender to the length it announced, so the common case needs no counting.
      if (length !== undefined) {
        if (Number(length) > this.#maxBytes) return 'too large';
        if (!take(Number(length))) return 'too many';
        return Buffer.from(await c.req.raw.arrayBuffer());
      }
      const chunks: Uint8Array[] = [];
      for await (const chunk of c.req.raw.body ?? []) {
        const fits = take(chunk.byteLength);
        if (place.bytes > this.#maxBytes) return 'too large';
        if (!fits) return 'too many';
        chunks.push(chunk);
      }
      return Buffer.concat(chunks);
    } catch (error) {
      if (c.req.raw.signal.aborted) return 'cut off';
      throw error;
    }
  }

  /** What the user has under way then. */
  #add(user: UserId, bytes: number): number {
    const held = (this.#held.get(user) ?? 0) + bytes;
    if (held === 0) this.#held.delete(user);
    else this.#held.set(user, held);
    return held;
  }
}
