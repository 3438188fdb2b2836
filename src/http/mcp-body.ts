/** Reads a POST body without ever holding more than the cap, and decides nothing about what is in it. */
import type { Context } from 'hono';

export type BodyFault = 'too large' | 'cut off';

export async function readBody(c: Context, maxBytes: number): Promise<Buffer | BodyFault> {
  const length = c.req.header('content-length');
  try {
    // The HTTP parser holds a sender to the length it announced, so the common case needs no counting.
    if (length !== undefined) {
      return Number(length) > maxBytes ? 'too large' : Buffer.from(await c.req.raw.arrayBuffer());
    }
    const chunks: Uint8Array[] = [];
    let held = 0;
    for await (const chunk of c.req.raw.body ?? []) {
      held += chunk.byteLength;
      if (held > maxBytes) return 'too large';
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  } catch (error) {
    if (c.req.raw.signal.aborted) return 'cut off';
    throw error;
  }
}
