/** The broker in this process, on real sockets, in front of a stand-in Forgejo: for flows that turn knobs of both. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Clock } from '../../src/base/clock.js';
import type { Randomness } from '../../src/base/ids.js';
import { createRecordingLog, type LogFields } from '../../src/base/log.js';
import type { PublicNetwork } from '../../src/base/public-fetch.js';
import { startBroker } from '../../src/broker.js';
import { loadConfig } from '../../src/config.js';
import type { ForgejoOptions, StandInForgejo } from '../../src/demo/forgejo/forgejo.js';
import { freePort } from '../../src/demo/free-port.js';
import type { Person } from './browser.js';
import { startForgejo } from './forgejo.js';

export interface TestBrokerOptions {
  readonly forgejo?: ForgejoOptions;
  /** BROKER_ and FORGEJO_ variables, beside or instead of the usual ones. */
  readonly env?: Readonly<Record<string, string>>;
  readonly now?: Clock;
  readonly random?: Randomness;
  /** Instead of the internet; without one no name resolves. */
  readonly network?: PublicNetwork;
}

export interface LogEntry {
  readonly event: string;
  readonly fields: LogFields;
}

export interface TestBroker extends AsyncDisposable {
  readonly url: string;
  readonly mcpUrl: string;
  readonly forgejo: StandInForgejo;
  readonly log: readonly LogEntry[];
  person(login: string): Person;
  /** Ends the broker and starts it again on the same port and data. */
  restart(env?: Readonly<Record<string, string>>): Promise<void>;
}

/** Without an SDK: the demo's own takes four times as long to start. */
const MCP_SERVER = resolve(import.meta.dirname, '../fixtures/server.js');

/** Tests reach no host but this one. */
export const NO_NETWORK: PublicNetwork = {
  lookup: (hostname, _options, callback) => callback(new Error(`no such host: ${hostname}`), []),
  isPublic: () => true,
};

export async function startTestBroker(options: TestBrokerOptions = {}): Promise<TestBroker> {
  const folder = mkdtempSync(join(tmpdir(), 'fjmcp-test-'));
  const now = options.now ?? Date.now;
  const forgejo = await startForgejo({ now, ...options.forgejo });
  const url = `http://127.0.0.1:${await freePort()}`;
  const { clientId, clientSecret } = forgejo.createApplication({
    name: 'broker',
    redirectUris: [`${url}/oauth/callback`],
  });
  const log: LogEntry[] = [];
  const env = {
    PATH: process.env.PATH ?? '',
    BROKER_PUBLIC_URL: url,
    BROKER_LISTEN: new URL(url).host,
    BROKER_DATABASE: join(folder, 'broker.db'),
    BROKER_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64'),
    BROKER_DRAIN_SECONDS: '1',
    BROKER_MCP_COMMAND: `'${process.execPath}' '${MCP_SERVER}'`,
    FORGEJO_URL: forgejo.url,
    FORGEJO_CLIENT_ID: clientId,
    FORGEJO_CLIENT_SECRET: clientSecret,
    ...options.env,
  };
  const start = (more: Readonly<Record<string, string>> = {}) => {
    const loaded = loadConfig({ ...env, ...more }, (path) => {
      throw new Error(path);
    });
    assert.ok('config' in loaded, JSON.stringify(loaded));
    return startBroker(loaded, {
      now,
      random: options.random ?? randomBytes,
      network: options.network ?? NO_NETWORK,
      log: createRecordingLog((_level, event, fields) => log.push({ event, fields })),
    });
  };
  const clear = async () => {
    await forgejo.close();
    rmSync(folder, { recursive: true, force: true });
  };
  // What is left open would keep a test that fails from ending.
  let broker = await start().catch(async (error: unknown) => {
    await clear();
    throw error;
  });
  return {
    url,
    mcpUrl: `${url}/mcp`,
    forgejo,
    log,
    person(login) {
      const found = forgejo.users.find((user) => user.login === login);
      assert.ok(found, `no user ${login}`);
      return found;
    },
    async restart(more) {
      await broker[Symbol.asyncDispose]();
      broker = await start(more);
    },
    async [Symbol.asyncDispose]() {
      await broker[Symbol.asyncDispose]();
      await clear();
    },
  };
}
