/** /healthz and /readyz: one word, for whoever asks, and never at the disk's cost. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { resolve } from 'node:path';
import { describe, test } from 'node:test';
import { sql } from 'drizzle-orm';
import { createRecordingLog } from '../../src/base/log.js';
import { freePort } from '../../src/demo/free-port.js';
import { createReadiness, healthRoutes } from '../../src/http/health.js';
import { openExistingSqlite } from '../../src/store/sqlite.js';
import { ask } from '../support/ask.js';
import { startTestBroker } from '../support/broker.js';
import { startStage } from '../support/connection.js';
import { obtainTokens } from '../support/oauth-client.js';

const FIXTURE = resolve(import.meta.dirname, '../fixtures/server.js');

describe('health', () => {
  test('is one word that nobody keeps, with or without a session, a Host of ours or an Origin', async () => {
    await using broker = await startTestBroker({
      env: { BROKER_ALLOWED_ORIGINS: 'https://app.example.org' },
    });
    for (const path of ['/healthz', '/readyz']) {
      for (const asked of [
        {},
        { Host: '192.0.2.7' },
        { Host: 'elsewhere.example:81', Origin: 'https://x.example' },
      ]) {
        const { status, headers, body } = await ask(broker.url + path, 'GET', asked);
        assert.deepEqual(
          [status, body, headers['cache-control']],
          [200, 'ok', 'no-store'],
          JSON.stringify(asked),
        );
      }
      assert.equal((await ask(broker.url + path, 'HEAD', { Host: '192.0.2.7' })).status, 200);
      assert.equal((await ask(broker.url + path, 'POST')).status, 404);
    }
  });

  test('is told to a check that speaks HTTP/1.0 and names no host; nothing else is', async () => {
    await using broker = await startTestBroker();
    const firstLine = async (path: string) => {
      const socket = connect(Number(new URL(broker.url).port), '127.0.0.1');
      socket.write(`GET ${path} HTTP/1.0\r\n\r\n`);
      const [head] = (await once(socket, 'data')) as [Buffer];
      socket.destroy();
      return head.toString().split('\r\n')[0];
    };
    assert.match((await firstLine('/healthz')) ?? '', / 200 /);
    assert.match((await firstLine('/.well-known/oauth-authorization-server')) ?? '', / 403 /);
  });
});

describe('readiness', () => {
  test('ends while another program holds the lock of the database, and comes back', async () => {
    await using stage = await startStage();
    const ready = async () => {
      stage.forward(1000);
      const { status, body } = await ask(`${stage.broker.url}/readyz`);
      return `${status} ${body}`;
    };
    assert.equal(await ready(), '200 ok');
    const other = openExistingSqlite(stage.database);
    other.db.run(sql`begin immediate`);
    assert.equal(await ready(), '503 store');
    assert.equal(await ready(), '503 store');
    assert.equal((await ask(`${stage.broker.url}/healthz`)).status, 200);
    other.db.run(sql`rollback`);
    other.close();
    assert.equal(await ready(), '200 ok');
    assert.deepEqual([stage.count('store.unwritable'), stage.count('store.writable')], [1, 1]);
  });

  test('is asked of the store once a second, however many ask', async () => {
    let time = 10_000;
    let probes = 0;
    const readiness = createReadiness({
      store: {
        probe: async () => {
          probes += 1;
          if (probes === 2) throw new Error('disk full');
        },
      },
      draining: new AbortController().signal,
      now: () => time,
      log: createRecordingLog(() => undefined),
    });
    const askOften = async () => new Set(await Promise.all(Array.from({ length: 100 }, readiness)));
    assert.deepEqual(await askOften(), new Set(['ok']));
    time += 999;
    assert.deepEqual(await askOften(), new Set(['ok']));
    assert.equal(probes, 1);
    time += 1;
    assert.deepEqual(await askOften(), new Set(['store']));
    time += 1000;
    assert.deepEqual(await askOften(), new Set(['ok']));
    // A clock that was set back must not freeze the answer.
    time -= 1_000_000;
    assert.deepEqual(await askOften(), new Set(['ok']));
    assert.equal(probes, 4);
  });

  test('ends at once when the broker begins to stop, whatever the store last said', async () => {
    const stop = new AbortController();
    const readiness = createReadiness({
      store: { probe: async () => undefined },
      draining: stop.signal,
      now: () => 0,
      log: createRecordingLog(() => undefined),
    });
    const routes = healthRoutes(readiness);
    assert.equal((await routes.request('/readyz')).status, 200);
    stop.abort();
    const answer = await routes.request('/readyz');
    assert.deepEqual([answer.status, await answer.text()], [503, 'draining']);
    assert.equal((await routes.request('/healthz')).status, 200);
  });

  test('says on the private listener that the broker drains, until it is gone', async () => {
    const port = await freePort();
    const metrics = `http://127.0.0.1:${port}`;
    const broker = await startTestBroker({
      env: {
        BROKER_METRICS_LISTEN: `127.0.0.1:${port}`,
        // It ignores the end of its input and SIGTERM, so that there is something to wait for.
        BROKER_MCP_COMMAND: `/usr/bin/env FIXTURE=deaf '${process.execPath}' '${FIXTURE}'`,
      },
    });
    const { access_token } = await obtainTokens(broker.mcpUrl, broker.person('alice'));
    const initialize = {
      jsonrpc: '2.0',
      id: 1,
      method: 'initialize',
      params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
    };
    const opened = await fetch(broker.mcpUrl, {
      method: 'POST',
      headers: { Authorization: `Bearer ${access_token}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(initialize),
    });
    assert.equal(opened.status, 200, await opened.text());
    assert.equal((await ask(`${metrics}/readyz`)).body, 'ok');
    const closing = broker[Symbol.asyncDispose]();
    const { status, body } = await ask(`${metrics}/readyz`);
    assert.deepEqual([status, body], [503, 'draining']);
    assert.equal((await ask(`${metrics}/healthz`)).status, 200);
    await closing;
    await assert.rejects(ask(`${metrics}/healthz`), /ECONNREFUSED|ECONNRESET|hang up/);
  });
});
