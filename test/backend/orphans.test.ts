/** What a former life left behind is ended at the start of the next, and nothing else is. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { endOrphans, FOLDER_PREFIX, Roll } from '../../src/backend/orphans.js';
import { createRecordingLog, type LogFields } from '../../src/base/log.js';
import { isAlive } from '../fixtures/until.js';
import { descendantsOf, survivorsOf } from '../support/processes.js';

const base = mkdtempSync(join(tmpdir(), 'fjmcp-orphans-'));
after(() => rmSync(base, { recursive: true, force: true }));
let stages = 0;

/** A file, a folder of homes, and the log of whoever ends the orphans. */
function newStage() {
  stages += 1;
  const at = join(base, `${stages}`);
  const folder = join(at, `${FOLDER_PREFIX}homes`);
  const home = join(folder, 'home-1');
  mkdirSync(home, { recursive: true });
  const events: { event: string; fields: LogFields }[] = [];
  const log = createRecordingLog((_level, event, fields) => events.push({ event, fields }));
  const file = join(at, 'broker.db.children');
  const noCgroups = { endFormer: () => Promise.resolve([]) };
  return {
    file,
    folder,
    home,
    events,
    newRoll: () => new Roll(file, folder, log),
    read: () => JSON.parse(readFileSync(file, 'utf8')),
    change: (fields: object) =>
      writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...fields })),
    endOrphans: () => endOrphans(file, noCgroups, log),
  };
}

const groups: number[] = [];
after(() => {
  for (const group of groups) if (isAlive(-group)) process.kill(-group, 'SIGKILL');
});

/** A process group of its own, of `script` in a shell, that has said it is ready. */
async function startGroup(script: string, home = '/'): Promise<ChildProcess & { readonly pid: number }> {
  const child = spawn('/bin/sh', ['-c', script], {
    detached: true,
    env: { PATH: process.env.PATH, HOME: home },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  assert.ok(child.pid !== undefined);
  groups.push(child.pid);
  await once(child.stdout, 'data');
  return Object.assign(child, { pid: child.pid });
}

const STAYS = 'sleep 600 & echo ready; wait';
/** Its leader goes with its input, and what it started stays. */
const LEADER_GOES = 'sleep 600 & echo ready; read line';

describe('a child on the roll', { skip: process.platform !== 'linux' && 'this takes /proc' }, () => {
  test('is ended with its group when it still runs, and its home is removed', async () => {
    const stage = newStage();
    const child = await startGroup(STAYS);
    const family = descendantsOf(child.pid);
    assert.equal(family.length, 1);
    stage.newRoll().add(child.pid);
    const ended = once(child, 'exit');
    await stage.endOrphans();
    assert.deepEqual(await ended, [null, 'SIGKILL']);
    assert.deepEqual(await survivorsOf(family, 5000), []);
    assert.deepEqual(stage.events, [{ event: 'orphan.ended', fields: { pid: child.pid, processes: 2 } }]);
    assert.ok(!existsSync(stage.folder) && !existsSync(stage.file));
  });

  test('is left alone when another process has its number by now', async () => {
    const stage = newStage();
    const child = await startGroup(STAYS, stage.home);
    stage.newRoll().add(child.pid);
    const [{ pid, startedAt }] = stage.read().children;
    assert.equal(pid, child.pid);
    stage.change({ children: [{ pid, startedAt: `${Number(startedAt) - 1}` }] });
    await stage.endOrphans();
    assert.deepEqual(stage.events, []);
    assert.ok(isAlive(child.pid));
  });

  test('is not looked for after the machine was started again', async () => {
    const stage = newStage();
    const child = await startGroup(STAYS, stage.home);
    stage.newRoll().add(child.pid);
    stage.change({ boot: '00000000-0000-0000-0000-000000000000' });
    await stage.endOrphans();
    assert.deepEqual(stage.events, []);
    assert.ok(isAlive(child.pid));
    assert.ok(!existsSync(stage.file));
  });

  for (const [where, isOurs] of [
    ['in its home', true],
    ['elsewhere', false],
  ] as const) {
    const fate = isOurs ? 'is ended' : 'is left alone';
    test(`may be gone itself: what still runs in its group and lives ${where} ${fate}`, async () => {
      const stage = newStage();
      const leader = await startGroup(LEADER_GOES, isOurs ? stage.home : base);
      const left = descendantsOf(leader.pid);
      assert.equal(left.length, 1);
      stage.newRoll().add(leader.pid);
      const gone = once(leader, 'exit');
      leader.stdin?.end();
      await gone;
      await stage.endOrphans();
      const fields = { pid: leader.pid, processes: 1 };
      assert.deepEqual(stage.events, isOurs ? [{ event: 'orphan.ended', fields }] : []);
      if (isOurs) assert.deepEqual(await survivorsOf(left, 5000), []);
      else assert.ok(isAlive(left[0]?.pid ?? 0));
    });
  }

  test('leaves it when it has ended; with the last one the file goes', async () => {
    const stage = newStage();
    const [first, second] = [await startGroup(STAYS), await startGroup(STAYS)];
    const roll = stage.newRoll();
    roll.add(first.pid);
    roll.add(second.pid);
    roll.remove(first.pid);
    assert.deepEqual(
      stage.read().children.map(({ pid }: { pid: number }) => pid),
      [second.pid],
    );
    roll.remove(second.pid);
    assert.ok(!existsSync(stage.file));
  });
});

test('a roll that cannot be read is told, and stops nobody', async () => {
  const stage = newStage();
  writeFileSync(stage.file, '{"boot":');
  await stage.endOrphans();
  assert.deepEqual(
    stage.events.map(({ event }) => event),
    ['children.unreadable'],
  );
});

test('a roll that cannot be written is told once, and children run without it', {
  skip: process.platform !== 'linux' && 'this takes /proc',
}, async () => {
  const stage = newStage();
  mkdirSync(`${stage.file}.new`);
  const [first, second] = [await startGroup(STAYS), await startGroup(STAYS)];
  const roll = stage.newRoll();
  roll.add(first.pid);
  roll.add(second.pid);
  assert.deepEqual(
    stage.events.map(({ event }) => event),
    ['children.unrecorded'],
  );
});
