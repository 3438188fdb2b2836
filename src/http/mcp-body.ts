/**
 * Reads POST bodies without ever holding more than the caps, one for a body and one for all that a user has under way,
 * and decides nothing about what is in them.
 */
import type { IncomingMessage } from 'node:http';
import type { UserId } from '../base/ids.js';
import { after, type Maybe } from '../base/maybe.js';
import { MESSAGES_PER_USER } from './mcp-ledger.js';

export type BodyFault = 'too large' | 'too many' | 'cut off';

export class Bodies {
  readonly #maxBytes: number;
  /** As many as have come since the start. */
  readonly #held = new Map<UserId, number>();

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Reads the body and holds its place until `use` is done with it. */
  read<T>(request: IncomingMessage, user: UserId, use: (body: Buffer | BodyFault) => Maybe<T>): Maybe<T> {
    const place = { bytes: 0 };
    const take = (bytes: number): BodyFault | undefined => {
      place.bytes += bytes;
      const held = this.#add(user, bytes);
      if (place.bytes > this.#maxBytes) return 'too large';
      return held > this.#maxBytes * MESSAGES_PER_USER ? 'too many' : undefined;
    };
    // The HTTP parser holds a sender to the length it announced, so the common case needs no counting.
    const announced = request.headers['content-length'];
    if (Number(announced) > this.#maxBytes) return use('too large');
    const fault = announced === undefined ? undefined : take(Number(announced));
    const read = fault ?? readAll(request, announced === undefined ? take : undefined);
    const leave = () => void this.#add(user, -place.bytes);
    let used: Maybe<T> | undefined;
    try {
      used = after(read, use);
      return used;
    } finally {
      if (used instanceof Promise) void used.then(leave, leave);
      else leave();
    }
  }

  /** What the user has under way then. */
  #add(user: UserId, bytes: number): number {
    const held = (this.#held.get(user) ?? 0) + bytes;
    this.#held.set(user, held);
    return held;
  }
}

/** `take` counts what comes, and says when it is too much. */
function readAll(
  request: IncomingMessage,
  take: ((bytes: number) => BodyFault | undefined) | undefined,
): Promise<Buffer | BodyFault> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const hear = (chunk: Buffer) => {
      const fault = take?.(chunk.length);
      chunks.push(chunk);
      if (fault === undefined) return;
      // Node.js reads and forgets what still comes.
      request.off('data', hear);
      chunks.length = 0;
      resolve(fault);
    };
    request.on('data', hear);
    request.on('end', () => {
      resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks));
      // The request is there until it is answered, and may be then.
      chunks.length = 0;
    });
    request.on('close', () => resolve('cut off'));
  });
}
