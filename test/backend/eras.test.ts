/** Which era a server speaks is found out once, by what it answers and not by what it says of itself. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Containment } from '../../src/backend/containment.js';
import type { EraStore } from '../../src/backend/era-store.js';
import { type ConfiguredServer, Eras, judge } from '../../src/backend/eras.js';
import { Spawner } from '../../src/backend/spawner.js';
import { createRecordingLog } from '../../src/base/log.js';
import { access, FIXTURES, TOKEN, UNCONFINED } from '../fixtures/bridge.js';
import { memoryEraStore } from '../fixtures/session-store.js';
import { isAlive, until } from '../fixtures/until.js';

const base = mkdtempSync(join(tmpdir(), 'fjmcp-test-'));
after(() => rmSync(base, { recursive: true, force: true }));
const log = createRecordingLog(() => undefined);
const MODERN = join(FIXTURES, 'modern-server.js');
const LEGACY = join(FIXTURES, 'server.js');

const server = (args: readonly string[], more: Partial<ConfiguredServer> = {}): ConfiguredServer => ({
  name: 'main',
  command: process.execPath,
  args,
  env: {},
  protocol: 'auto',
  ...more,
});

interface Bench extends AsyncDisposable {
  readonly eras: Eras;
  readonly clock: { now: number };
  /** How many processes were started. */
  readonly started: () => number;
  /** How many of them are gone. */
  readonly ended: () => number;
}

async function newBench(
  store: EraStore = memoryEraStore(),
  { probeMs = 10_000, maxMessageBytes = 1_000_000 } = {},
): Promise<Bench> {
  const containment = await Containment.open(UNCONFINED);
  const path = process.env.PATH ?? '';
  const grace = { eofMs: 300, termMs: 300 };
  const spawner = new Spawner({ path, lang: 'C', containment, maxMessageBytes, grace, now: Date.now, log });
  let started = 0;
  let ended = 0;
  const counting = {
    start: (...[entry, upstream, listener]: Parameters<Spawner['start']>) => {
      started += 1;
      const onEnd: typeof listener.onEnd = (end) => {
        ended += 1;
        listener.onEnd(end);
      };
      return spawner.start(entry, upstream, { ...listener, onEnd });
    },
  };
  const clock = { now: 1_000_000 };
  const eras = new Eras({ store, spawner: counting, path, now: () => clock.now, log, probeMs });
  return {
    eras,
    clock,
    started: () => started,
    ended: () => ended,
    async [Symbol.asyncDispose]() {
      await eras[Symbol.asyncDispose]();
      await spawner[Symbol.asyncDispose]();
    },
  };
}

describe('a line that answers server/discover', () => {
  const rows: [what: string, line: string, era: 'legacy' | 'modern' | undefined][] = [
    [
      'a DiscoverResult',
      '{"jsonrpc":"2.0","id":"x","result":{"supportedVersions":["2026-07-28"]}}',
      'modern',
    ],
    [
      'one of a server of both eras',
      '{"jsonrpc":"2.0","id":"x","result":{"supportedVersions":["2026-07-28","2025-11-25"]}}',
      'modern',
    ],
    [
      'one that names legacy versions only',
      '{"jsonrpc":"2.0","id":"x","result":{"supportedVersions":["2025-11-25"]}}',
      'legacy',
    ],
    [
      'one that names only versions to come',
      '{"jsonrpc":"2.0","id":"x","result":{"supportedVersions":["2027-07-28"]}}',
      'modern',
    ],
    [
      '-32022 that names another version',
      '{"jsonrpc":"2.0","id":"x","error":{"code":-32022,"message":"","data":{"supported":["2027-01-01"]}}}',
      'modern',
    ],
    ['-32022 without a word', '{"jsonrpc":"2.0","id":"x","error":{"code":-32022,"message":""}}', 'modern'],
    [
      '-32022 that names legacy versions only',
      '{"jsonrpc":"2.0","id":"x","error":{"code":-32022,"message":"","data":{"supported":["2025-06-18"]}}}',
      'legacy',
    ],
    ['method not found', '{"jsonrpc":"2.0","id":"x","error":{"code":-32601,"message":""}}', 'legacy'],
    [
      'an error under the id null',
      '{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":""}}',
      'legacy',
    ],
    ['a result of anything else', '{"jsonrpc":"2.0","id":"x","result":{"tools":[]}}', 'legacy'],
    [
      'a list of versions that is none',
      '{"jsonrpc":"2.0","id":"x","result":{"supportedVersions":[1]}}',
      'legacy',
    ],
    ['a notification', '{"jsonrpc":"2.0","method":"notifications/message"}', undefined],
    ['a request', '{"jsonrpc":"2.0","id":1,"method":"ping"}', undefined],
    ['noise', 'Server ready.', undefined],
  ];
  for (const [what, line, era] of rows) {
    test(`${what} means ${era ?? 'nothing'}`, () => assert.equal(judge(Buffer.from(line))?.era, era));
  }

  test('is kept as it came, unless it is too long', () => {
    const line = (length: number) =>
      Buffer.from(
        `{"jsonrpc":"2.0","id":"x","result":{"supportedVersions":["2026-07-28"],"instructions":"${'i'.repeat(length)}"}}`,
      );
    assert.deepEqual(judge(line(10))?.discover, line(10));
    assert.deepEqual(
      { ...judge(line(70_000)), why: '' },
      { era: 'modern', discover: null, why: '', isPlain: true },
    );
  });
});

describe('a server', () => {
  const ANSWER = `{"jsonrpc":"2.0","id":"x","result":{"supportedVersions":["2026-07-28"]}}`;
  const rows: [what: string, args: string[], era: 'legacy' | 'modern', probeMs?: number][] = [
    ['of 2026-07-28 is modern', [MODERN], 'modern'],
    ['of the old era is legacy', [LEGACY], 'legacy'],
    [
      'that exits at a request before initialize is legacy',
      ['-e', 'process.stdin.once("data", () => process.exit(1))'],
      'legacy',
    ],
    ['that exits at once is legacy', ['-e', ''], 'legacy'],
    ['that stays silent is legacy', ['-e', 'process.stdin.resume()'], 'legacy', 300],
    [
      'that makes noise before it answers is what it answers',
      ['-e', `process.stdin.once("data", () => console.log('Ready.\\n{}\\n${ANSWER}'))`],
      'modern',
    ],
    [
      'that makes nothing but noise is legacy',
      ['-e', 'setInterval(() => console.log("ready"), 20)'],
      'legacy',
      300,
    ],
    [
      'that answers without end is legacy',
      ['-e', 'console.log("x".repeat(2e6)); process.stdin.resume()'],
      'legacy',
    ],
  ];
  for (const [what, args, era, probeMs] of rows) {
    test(what, async () => {
      await using bench = await newBench(memoryEraStore(), { ...(probeMs && { probeMs }) });
      assert.equal(await bench.eras.of(server(args), access()), era);
    });
  }

  for (const protocol of ['legacy', 'modern'] as const) {
    test(`that is said to be ${protocol} is not asked`, async () => {
      await using bench = await newBench();
      assert.equal(await bench.eras.of(server([LEGACY], { protocol }), access()), protocol);
      assert.equal(bench.started(), 0);
    });
  }
});

test('several who wait for a verdict share one probe, and those who come later have it at once', async () => {
  await using bench = await newBench();
  const found = await Promise.all([1, 2, 3].map(() => bench.eras.of(server([MODERN]), access())));
  assert.deepEqual(found, ['modern', 'modern', 'modern']);
  assert.equal(await bench.eras.of(server([MODERN]), access()), 'modern');
  assert.equal(bench.started(), 1);
});

test('a verdict outlives the broker, with the answer it came from', async () => {
  const store = memoryEraStore();
  {
    await using bench = await newBench(store);
    await bench.eras.of(server([MODERN]), access());
  }
  const kept = JSON.parse(store.eras.get('main')?.discover?.toString() ?? '');
  assert.equal(kept.result.instructions, 'modern');
  await using bench = await newBench(store);
  assert.equal(await bench.eras.of(server([MODERN]), access()), 'modern');
  assert.equal(bench.started(), 0);
});

describe('a verdict is made again', () => {
  const script = join(base, 'server.mjs');
  writeFileSync(script, readFileSync(MODERN));
  const otherNode = join(base, 'node');
  symlinkSync(process.execPath, otherNode);
  const rows: [what: string, change: () => ConfiguredServer][] = [
    ['for another argument', () => server([script, '-x'])],
    ['for another environment', () => server([script], { env: { A: '1' } })],
    ['for another program', () => server([script], { command: otherNode })],
    [
      'for a file that was replaced',
      () => {
        utimesSync(script, 1, 1);
        return server([script]);
      },
    ],
  ];
  for (const [what, change] of rows) {
    test(what, async () => {
      await using bench = await newBench();
      await bench.eras.of(server([script]), access());
      await bench.eras.of(change(), access());
      assert.equal(bench.started(), 2);
    });
  }

  const refusal = (code: number) =>
    Buffer.from(`{"jsonrpc":"2.0","id":1,"error":{"code":${code},"message":""}}`);

  test('when a child speaks like one of the other era, but not within moments, and nobody waits for it', async () => {
    const changing = join(base, 'changing.mjs');
    writeFileSync(changing, readFileSync(MODERN));
    const entry = server(['-e', `import('file://${changing}')`]);
    const store = memoryEraStore();
    await using bench = await newBench(store);
    assert.equal(await bench.eras.of(entry, access()), 'modern');
    writeFileSync(changing, '');
    bench.eras.doubt('main', refusal(-32601));
    assert.equal(await bench.eras.of(entry, access()), 'modern');
    assert.equal(bench.started(), 1);
    bench.clock.now += 10_000;
    bench.eras.doubt('main', refusal(-32601));
    assert.equal(await bench.eras.of(entry, access()), 'modern', 'the verdict stands meanwhile');
    assert.equal(await bench.eras.of(entry, access()), 'modern');
    await until('the other verdict', () => bench.eras.known(entry) === 'legacy');
    assert.equal(store.eras.get('main')?.era, 'legacy');
    assert.equal(bench.started(), 2);
  });

  const ANSWERS: [what: string, answer: Buffer, processes: number][] = [
    ['that does not know the method', refusal(-32601), 2],
    ['that does not know the version', refusal(-32022), 2],
    ['that does not like the parameters', refusal(-32602), 1],
    ['that is out of order', refusal(-32603), 1],
    ['without an error', Buffer.from('{"jsonrpc":"2.0","id":1,"result":{}}'), 1],
  ];
  for (const [what, answer, processes] of ANSWERS) {
    test(`${processes === 2 ? 'for' : 'but not for'} an answer ${what}`, async () => {
      await using bench = await newBench();
      await bench.eras.of(server([script]), access());
      bench.clock.now += 10_000;
      bench.eras.doubt('main', answer);
      await bench.eras.of(server([script]), access());
      assert.equal(bench.started(), processes);
    });
  }

  /** What the server has become when it is looked at again, ten minutes after a refusal that any client can bring about. */
  const REPLACED: [what: string, from: string, to: string, era: 'legacy' | 'modern'][] = [
    ['has become a legacy one that dislikes what it is asked', MODERN, answering(-32602), 'legacy'],
    ['has become a legacy one that knows no such request', MODERN, answering(-32600), 'legacy'],
    ['has become a modern one', LEGACY, readFileSync(MODERN, 'utf8'), 'modern'],
    ['is the same as before', MODERN, readFileSync(MODERN, 'utf8'), 'modern'],
    ['fails with the token of who asks', MODERN, answering(-32603), 'modern'],
    ['ends with the token of who asks', MODERN, '', 'modern'],
    ['is silent', MODERN, 'process.stdin.resume()', 'modern'],
  ];
  function answering(code: number): string {
    return `process.stdin.once('data', () => console.log('${refusal(code)}'))`;
  }
  for (const [index, [what, from, to, era]] of REPLACED.entries()) {
    test(`after a refusal that any client can bring about, if the server ${what}: ${era}`, async () => {
      const program = join(base, `replaced-${index}.mjs`);
      writeFileSync(program, readFileSync(from));
      const entry = server(['-e', `import('file://${program}')`]);
      const store = memoryEraStore();
      {
        await using bench = await newBench(store);
        await bench.eras.of(entry, access());
      }
      writeFileSync(program, to);
      await using bench = await newBench(store, { probeMs: to.includes('resume') ? 50 : 10_000 });
      const before = await bench.eras.of(entry, access());
      bench.clock.now += 600_000;
      bench.eras.doubt('main', refusal(-32602));
      assert.equal(await bench.eras.of(entry, access()), before, 'the verdict stands meanwhile');
      await until('the end of the probe', () => bench.ended() === 1);
      assert.deepEqual([bench.eras.known(entry), store.eras.get('main')?.era], [era, era]);
    });
  }

  test('not more than once in ten minutes for what any client can bring about', async () => {
    await using bench = await newBench();
    const look = async (laterMs: number) => {
      bench.clock.now += laterMs;
      bench.eras.doubt('main', refusal(-32602));
      await bench.eras.of(server([script]), access());
      return bench.started();
    };
    await bench.eras.of(server([script]), access());
    assert.deepEqual(
      [await look(599_999), await look(1), await look(1), await look(599_998), await look(1)],
      [1, 2, 2, 2, 3],
    );
  });

  test('but not by silence', async () => {
    const fading = join(base, 'fading.mjs');
    writeFileSync(fading, readFileSync(MODERN));
    const entry = server(['-e', `import('file://${fading}')`]);
    const store = memoryEraStore();
    {
      await using bench = await newBench(store);
      await bench.eras.of(entry, access());
    }
    writeFileSync(fading, 'process.stdin.resume()');
    await using bench = await newBench(store, { probeMs: 50 });
    await bench.eras.of(entry, access());
    bench.clock.now += 10_000;
    bench.eras.doubt('main', refusal(-32601));
    await bench.eras.of(entry, access());
    assert.equal(bench.started(), 1);
    await until('the end of the probe', () => bench.ended() === 1);
    assert.equal(await bench.eras.of(entry, access()), 'modern');
    assert.equal(store.eras.get('main')?.era, 'modern');
  });

  test('by the next broker when it rests on silence alone', async () => {
    const store = memoryEraStore();
    await using bench = await newBench(store, { probeMs: 50 });
    const silent = server(['-e', 'process.stdin.resume()']);
    assert.equal(await bench.eras.of(silent, access()), 'legacy');
    assert.equal(await bench.eras.of(silent, access()), 'legacy');
    assert.equal(bench.started(), 1);
    assert.equal(store.eras.size, 0);
  });
});

describe('a probe that tells nothing about the server leaves no verdict', () => {
  const rows: [what: string, entry: ConfiguredServer, reason: string][] = [
    ['the command is not there', server([], { command: 'no-such-command' }), 'launch-refused'],
    ['the process cannot be started', server([`${base}\0`]), 'child-ended'],
  ];
  for (const [what, entry, reason] of rows) {
    test(what, async () => {
      const store = memoryEraStore();
      await using bench = await newBench(store);
      const found = await bench.eras.of(entry, access());
      assert.ok(typeof found === 'object', 'it has a verdict');
      assert.equal(found.data?.reason, reason);
      assert.equal(store.eras.size, 0);
    });
  }

  test('the broker ends', async () => {
    const store = memoryEraStore();
    const bench = await newBench(store);
    const asked = bench.eras.of(server(['-e', 'process.stdin.resume()']), access());
    await until('the probe', () => bench.started() === 1);
    await bench[Symbol.asyncDispose]();
    const found = await asked;
    assert.ok(typeof found === 'object');
    assert.equal(found.data?.reason, 'stopping');
    assert.equal(store.eras.size, 0);
  });
});

test('the sibling has the token of who asked, and is gone soon after its answer', async () => {
  const file = join(base, 'seen');
  const look = `require("fs").writeFileSync(${JSON.stringify(file)}, process.pid + " " + process.env.FORGEJO_ACCESS_TOKEN);`;
  await using bench = await newBench();
  await bench.eras.of(
    server([
      '-e',
      `${look} process.stdin.once("data", () => console.log('{"jsonrpc":"2.0","id":1,"result":{}}'))`,
    ]),
    access(),
  );
  const [pid, token] = readFileSync(file, 'utf8').split(' ');
  assert.equal(token, TOKEN);
  await until('its end', () => !isAlive(Number(pid)));
});
