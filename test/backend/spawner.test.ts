/** The folder of the children's homes stands where everybody may write, and cleaners remove what is old. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import type { Child } from '../../src/backend/child.js';
import { Containment } from '../../src/backend/containment.js';
import { Spawner } from '../../src/backend/spawner.js';
import { createRecordingLog } from '../../src/base/log.js';
import { access, UNCONFINED } from '../fixtures/bridge.js';

const base = mkdtempSync(join(tmpdir(), 'fjmcp-test-'));
after(() => rmSync(base, { recursive: true, force: true }));
const log = createRecordingLog(() => undefined);

async function newSpawner(rollFile: string): Promise<Spawner> {
  const containment = await Containment.open(UNCONFINED);
  const options = { path: process.env.PATH ?? '', lang: 'C', containment, maxMessageBytes: 1000 };
  return new Spawner({ ...options, grace: { eofMs: 0, termMs: 300 }, rollFile, now: Date.now, log });
}

/** Starts a child that says where its home is, and stays. */
async function start(spawner: Spawner): Promise<{ child: Child; home: string }> {
  const entry = { name: 'main', command: '/bin/sh', args: ['-c', 'echo "$HOME"; exec sleep 600'], env: {} };
  return new Promise((resolve, reject) => {
    const child = spawner.start(entry, access(), {
      log,
      onLine: (line) => {
        if ('pid' in child) resolve({ child, home: line.toString() });
        return { settled: false, drain: undefined };
      },
      onEnd: () => undefined,
    });
    if (!('pid' in child)) reject(new Error('it cannot be started'));
  });
}

for (const [what, take] of [
  ['is gone', () => undefined],
  [
    'is gone, and its name taken by another',
    (folder: string) => symlinkSync(mkdtempSync(`${base}/x-`), folder),
  ],
] as const) {
  test(`when the folder of the homes ${what}, there is a new one under a new name`, async () => {
    // Its own: the end of a killed child is written down when it is heard of, perhaps in the next test.
    const rollFile = join(mkdtempSync(`${base}/roll-`), 'children');
    await using spawner = await newSpawner(rollFile);
    const before = dirname((await start(spawner)).home);
    rmSync(before, { recursive: true });
    take(before);
    const { child, home } = await start(spawner);
    const now = dirname(home);
    assert.notEqual(now, before);
    assert.equal(JSON.parse(readFileSync(rollFile, 'utf8')).folder, now);
    assert.equal(dirname((await start(spawner)).home), now);
    await child.stop('enough');
    await spawner[Symbol.asyncDispose]();
    assert.ok(!existsSync(now));
    if (existsSync(before)) assert.deepEqual(readdirSync(before), []);
    rmSync(before, { force: true });
  });
}
