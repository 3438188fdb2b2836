/**
 * Reads POST bodies without ever holding more than the caps, one for a body and one for all that a user has under way,
 * and decides nothing about what is in them.
 */
import type { IncomingMessage } from 'node:http';
import type { UserId } from '../base/ids.js';
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
  async read<T>(
    request: IncomingMessage,
    user: UserId,
    use: (body: Buffer | BodyFault) => Promise<T> | T,
  ): Promise<T> {
    const place = { bytes: 0 };
    try {
      return await use(await this.#read(request, user, place));
    } finally {
      this.#add(user, -place.bytes);
    }
  }

  #read(
    request: IncomingMessage,
    user: UserId,
    place: { bytes: number },
  ): Promise<Buffer | BodyFault> | BodyFault {
    const take = (bytes: number): BodyFault | undefined => {
      place.bytes += bytes;
      const held = this.#add(user, bytes);
      if (place.bytes > this.#maxBytes) return 'too large';
      return held > this.#maxBytes * MESSAGES_PER_USER ? 'too many' : undefined;
    };
    // The HTTP parser holds a sender to the length it announced, so the common case needs no counting.
    const announced = request.headers['content-length'];
    if (Number(announced) > this.#maxBytes) return 'too large';
    const fault = announced === undefined ? undefined : take(Number(announced));
    if (fault !== undefined) return fault;
    return new Promise((resolve) => {
      const chunks: Buffer[] = [];
      const hear = (chunk: Buffer) => {
        const tooMuch = announced === undefined ? take(chunk.length) : undefined;
        if (tooMuch === undefined) {
          chunks.push(chunk);
          return;
        }
        // Node.js reads and forgets what still comes.
        request.off('data', hear);
        resolve(tooMuch);
      };
      request.on('data', hear);
      request.on('end', () => resolve(joined(chunks)));
      request.on('close', () => resolve('cut off'));
    });
  }

  /** What the user has under way then. */
  #add(user: UserId, bytes: number): number {
    const held = (this.#held.get(user) ?? 0) + bytes;
    this.#held.set(user, held);
    return held;
  }
}

function joined(chunks: readonly Buffer[]): Buffer {
  const [only] = chunks;
  return only !== undefined && chunks.length === 1 ? only : Buffer.concat(chunks);
}
