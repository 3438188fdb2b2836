/** Clients that never rest, and what became of their requests. */
import { Agent, type IncomingMessage, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '../fixtures/client.js';

export interface Tally {
  answered: number;
  /** Told in a JSON-RPC error that the broker stops. */
  stopping: number;
  /** Met, over an idle kept connection, the broker that ended it in that moment: RFC 9112 §9.5, which no server can rule out. */
  raced: number;
  readonly failed: string[];
}

/** Over a connection that had served before, without a byte of an answer. */
class HungUp extends Error {}

export const newTally = (): Tally => ({ answered: 0, stopping: 0, raced: 0, failed: [] });

export interface LoadOptions {
  readonly url: string;
  readonly client: Pick<Client, 'headers'>;
  /** Whether its requests share one connection, or have one each. */
  readonly connections: 'kept' | 'fresh';
  /** Pause after each answer. */
  readonly pauseMs?: () => number;
}

/** Short calls, one after the other, until `stop`. */
export async function callOnAndOn(
  { url, client, connections, pauseMs }: LoadOptions,
  tally: Tally,
  stop: AbortSignal,
): Promise<void> {
  const agent = new Agent({ keepAlive: connections === 'kept', maxSockets: 1 });
  for (let id = 1; !stop.aborted; id += 1) {
    const body = `{"jsonrpc":"2.0","id":${id},"method":"echo","params":{"mine":${id}}}`;
    try {
      count(tally, id, await post(url, agent, client.headers, body));
    } catch (error) {
      if (pauseMs !== undefined && error instanceof HungUp) tally.raced += 1;
      else tally.failed.push(String(error));
    }
    const pause = pauseMs?.() ?? 0;
    if (pause > 0) await sleep(pause);
  }
  agent.destroy();
}

function count(tally: Tally, id: number, { status, text }: { status: number; text: string }): void {
  const wanted = `{"jsonrpc":"2.0","id":${id},"result":{"mine":${id}}}`;
  // As the body, or as an event when it took longer than usual.
  if (status === 200 && text.includes(wanted)) tally.answered += 1;
  else if (status === 200 && text.includes('"reason":"stopping"')) tally.stopping += 1;
  else tally.failed.push(`${status} ${text}`);
}

function post(
  url: string,
  agent: Agent,
  headers: Readonly<Record<string, string>>,
  body: string,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const options = {
      method: 'POST',
      agent,
      headers: { ...headers, 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) },
    };
    const sent = request(url, options, (response: IncomingMessage) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.once('end', () => resolve({ status: response.statusCode ?? 0, text }));
      response.once('error', reject);
    });
    sent.once('error', (error) => reject(sent.reusedSocket ? new HungUp(error.message) : error));
    sent.end(body);
  });
}
