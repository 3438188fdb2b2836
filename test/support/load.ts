/** Clients that never rest, and what became of their requests. */
import { Agent, type IncomingMessage, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, JSON_TYPE } from '../fixtures/client.js';
import { modernBody, modernHeaders } from '../fixtures/modern-client.js';

export interface Tally {
  /** Of these the head of an answer is there: a stream's long before its end. */
  begun: number;
  answered: number;
  /** Told in a JSON-RPC error that the broker stops. */
  stopping: number;
  /** Met, over an idle kept connection, the broker that ended it in that moment: RFC 9112 §9.5, which no server can rule out. */
  raced: number;
  readonly failed: string[];
}

/** Over a connection that had served before, without a byte of an answer. */
class HungUp extends Error {}

export const newTally = (): Tally => ({ begun: 0, answered: 0, stopping: 0, raced: 0, failed: [] });

/** One request after the other, told apart by a number, and a part of the answer that each must have. */
export interface Speaker {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: (id: number) => string;
  readonly wanted: (id: number) => RegExp;
}

export const inSession = ({ headers }: Pick<Client, 'headers'>): Speaker => ({
  headers: { ...headers, ...JSON_TYPE },
  body: (id) => `{"jsonrpc":"2.0","id":${id},"method":"echo","params":{"mine":${id}}}`,
  wanted: (id) => new RegExp(`\\{"jsonrpc":"2.0","id":${id},"result":\\{"mine":${id}\\}\\}`),
});

/** Without a session (MCP 2026-07-28). */
export function inEachRequest(token: string): Speaker {
  const call = (id: number) => ({ name: 'echo', arguments: { mine: id } });
  return {
    headers: { Authorization: `Bearer ${token}`, ...modernHeaders('tools/call', call(0)) },
    body: (id) => modernBody('tools/call', call(id), { id }),
    wanted: (id) => new RegExp(`"id":${id},"result":.*"name":"echo","arguments":\\{"mine":${id}\\}`),
  };
}

/** Each of its requests lasts until the broker ends it. */
export const listening = (token: string): Speaker => ({
  headers: { Authorization: `Bearer ${token}`, ...modernHeaders('subscriptions/listen', {}) },
  body: (id) => modernBody('subscriptions/listen', { notifications: { toolsListChanged: true } }, { id }),
  wanted: (id) => new RegExp(`\\{"jsonrpc":"2.0","id":${id},"result":\\{"resultType":"complete"`),
});

export interface LoadOptions {
  readonly url: string;
  readonly speaker: Speaker;
  /** Whether its requests share one connection, or have one each. */
  readonly connections: 'kept' | 'fresh';
  /** Pause after each answer. */
  readonly pauseMs?: () => number;
}

/** Short calls, one after the other, until `stop`. */
export async function callOnAndOn(
  { url, speaker, connections, pauseMs }: LoadOptions,
  tally: Tally,
  stop: AbortSignal,
): Promise<void> {
  const agent = new Agent({ keepAlive: connections === 'kept', maxSockets: 1 });
  for (let id = 1; !stop.aborted; id += 1) {
    try {
      count(tally, speaker.wanted(id), await post(url, agent, speaker.headers, speaker.body(id), tally));
    } catch (error) {
      if (pauseMs !== undefined && error instanceof HungUp) tally.raced += 1;
      else tally.failed.push(String(error));
    }
    const pause = pauseMs?.() ?? 0;
    if (pause > 0) await sleep(pause);
  }
  agent.destroy();
}

function count(tally: Tally, wanted: RegExp, { status, text }: { status: number; text: string }): void {
  // As the body, or as an event when it took longer than usual.
  if (status === 200 && wanted.test(text)) tally.answered += 1;
  else if (status === 200 && text.includes('"reason":"stopping"')) tally.stopping += 1;
  else tally.failed.push(`${status} ${text}`);
}

function post(
  url: string,
  agent: Agent,
  headers: Readonly<Record<string, string>>,
  body: string,
  tally: Tally,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const options = {
      method: 'POST',
      agent,
      headers: { ...headers, 'Content-Length': Buffer.byteLength(body) },
    };
    const sent = request(url, options, (response: IncomingMessage) => {
      tally.begun += 1;
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
