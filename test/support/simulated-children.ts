/**
 * Children that are real processes and cheap to start, with their minds in the test: each is a shell that connects its input
 * and output to a socket here. What they do takes simulated time, and they call Forgejo with the token they were given.
 */
import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

/** What a call of such a child does: `seconds` pass, and Forgejo is called before or after them. */
export interface Task {
  readonly seconds: number;
  readonly asks: 'first' | 'last';
}

export interface SimulatedChildren extends AsyncDisposable {
  /** The command line of the server. */
  readonly command: string;
  /** How many ever came up, and how many tasks wait for time to pass. */
  readonly born: number;
  readonly waiting: number;
  /** Whether one waits for Forgejo, or for the broker to take note that it is ready. */
  readonly isBusy: boolean;
  /** Calls of Forgejo with the token of a child, by status. */
  readonly calls: ReadonlyMap<number, number>;
  /** To be told whenever the clock was moved. */
  wake(): void;
  /** Settles when the clock has come that far. */
  later(seconds: number): Promise<void>;
}

/** How long one takes from its start until it answers. */
const START_SECONDS = 2;

const SHELL = (port: number) =>
  `exec 3<>/dev/tcp/127.0.0.1/${port}; echo "$FORGEJO_URL $FORGEJO_ACCESS_TOKEN" >&3; cat <&3 & exec cat >&3`;

export async function startSimulatedChildren(now: () => number): Promise<SimulatedChildren> {
  const sleepers = new Set<{ readonly until: number; readonly wake: () => void }>();
  const calls = new Map<number, number>();
  const sockets = new Set<Socket>();
  let [born, greeting, waiting, asking] = [0, 0, 0, 0];

  const later = (seconds: number) =>
    new Promise<void>((wake) => sleepers.add({ until: now() + seconds * 1000, wake }));

  const ask = async (url: string, token: string): Promise<number> => {
    asking += 1;
    const { status } = await fetch(`${url}/api/v1/user`, { headers: { Authorization: `token ${token}` } });
    asking -= 1;
    calls.set(status, (calls.get(status) ?? 0) + 1);
    return status;
  };

  const live = async (socket: Socket): Promise<void> => {
    const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
    const [url = '', token = ''] = String((await lines.next()).value).split(' ');
    born += 1;
    const say = (message: object) => socket.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
    const perform = async (id: unknown, { seconds, asks }: Task) => {
      const before = asks === 'first' ? await ask(url, token) : 200;
      waiting += 1;
      await later(seconds);
      waiting -= 1;
      const status = asks === 'last' ? await ask(url, token) : before;
      if (status === 200) say({ id, result: {} });
      else say({ id, error: { code: -32603, message: `Forgejo answered ${status}` } });
    };
    for await (const line of { [Symbol.asyncIterator]: () => lines }) {
      const { id, method, params } = JSON.parse(line);
      if (method === 'initialize') {
        await ask(url, token);
        await later(START_SECONDS);
        const serverInfo = { name: 'simulated', version: '1' };
        greeting += 1;
        say({ id, result: { protocolVersion: params.protocolVersion, capabilities: {}, serverInfo } });
      } else if (method === 'notifications/initialized') greeting -= 1;
      else if (method === 'tools/call') void perform(id, params.arguments);
    }
  };

  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    void live(socket);
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return {
    command: `bash -c '${SHELL(address.port)}'`,
    get born() {
      return born;
    },
    get waiting() {
      return waiting;
    },
    get isBusy() {
      return asking + greeting > 0;
    },
    calls,
    later,
    wake() {
      for (const sleeper of sleepers) {
        if (sleeper.until > now()) continue;
        sleepers.delete(sleeper);
        sleeper.wake();
      }
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((closed) => server.close(closed));
    },
  };
}
