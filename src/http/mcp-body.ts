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

  /** Reads the body and holds its place until `use` is done with it, which neither throws nor rejects. */
  read(request: IncomingMessage, user: UserId, use: (body: Buffer | BodyFault) => Maybe<void>): void {
    // The HTTP parser holds a sender to the length it announced, so the common case needs no counting.
    const announced = request.headers['content-length'];
    if (Number(announced) > this.#maxBytes) return void use('too large');
    let taken = 0;
    const take = (bytes: number): BodyFault | undefined => {
      taken += bytes;
      const held = this.#add(user, bytes);
      if (taken > this.#maxBytes) return 'too large';
      return held > this.#maxBytes * MESSAGES_PER_USER ? 'too many' : undefined;
    };
    const leave = () => void this.#add(user, -taken);
    const done = (body: Buffer | BodyFault) => void after(use(body), leave);
    const fault = announced === undefined ? undefined : take(Number(announced));
    if (fault !== undefined) done(fault);
    else readAll(request, announced === undefined ? take : undefined, done);
  }

  /** What the user has under way then. */
  #add(user: UserId, bytes: number): number {
    const held = (this.#held.get(user) ?? 0) + bytes;
    this.#held.set(user, held);
    return held;
  }
}

/**
 * `take` counts what comes, and says when it is too much. No promise: what follows is done in the turn in which the body
 * is there.
 */
function readAll(
  request: IncomingMessage,
  take: ((bytes: number) => BodyFault | undefined) | undefined,
  done: (body: Buffer | BodyFault) => void,
): void {
  // Who is asked for may take its time, and its client leave meanwhile: then nothing is heard of it any more.
  if (request.destroyed) {
    done('cut off');
    return;
  }
  // The request, and with it these listeners, may be there long after: what came is let go of before.
  let chunks: Buffer[] | undefined = [];
  const end = (body: Buffer | BodyFault) => {
    if (chunks === undefined) return;
    chunks = undefined;
    done(body);
  };
  const hear = (chunk: Buffer) => {
    const fault = take?.(chunk.length);
    chunks?.push(chunk);
    if (fault === undefined) return;
    // Node.js reads and forgets what still comes.
    request.off('data', hear);
    end(fault);
  };
  request.on('data', hear);
  request.on('end', () => end(chunks?.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks ?? [])));
  request.on('close', () => end('cut off'));
}
