/** A loopback port that was free a moment ago: for an address that must be written down before anything listens there. */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/** Where systems take no ports from for outgoing connections, one of which would have it by the time it is used. */
const PORTS = { from: 15_000, to: 30_000 };
const TRIES = 100;

export async function freePort(): Promise<number> {
  for (let tries = 1; ; tries += 1) {
    const port = randomInt(PORTS.from, PORTS.to);
    const probe = createServer().listen(port, '127.0.0.1');
    try {
      await once(probe, 'listening');
      probe.close();
      await once(probe, 'close');
      return port;
    } catch (error) {
      if (tries === TRIES) throw error;
    }
  }
}
