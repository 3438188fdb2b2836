/** Started by systemd-socket-activate, which listens as a socket unit does. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Client, connect } from '../fixtures/client.js';
import { until } from '../fixtures/until.js';
import { MAIN, type ServeStage, startServeStage } from '../support/serve.js';

const COMMAND = 'systemd-socket-activate';
const isMissing = spawnSync(COMMAND, ['--version']).error !== undefined;
const skip = isMissing && process.env.TEST_SOCKET_ACTIVATE !== 'required' && `${COMMAND} is not installed`;

/** Listens at once; the first connection makes it become the broker. */
async function activate({ url, folder, env: usual }: ServeStage) {
  const env = { ...usual, BROKER_LISTEN: 'systemd' };
  const passed = Object.keys(env).flatMap((name) => ['-E', name]);
  const broker = [process.execPath, MAIN, 'serve'];
  const child = spawn(COMMAND, [...passed, '-l', new URL(url).host, ...broker], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const killer = () => child.kill('SIGKILL');
  process.once('exit', killer);
  const log = join(folder, 'activated.log');
  const length = () => readFileSync(log, 'utf8').length;
  appendFileSync(log, '');
  const before = length();
  child.stderr.on('data', (chunk) => appendFileSync(log, chunk));
  const said = () => readFileSync(log, 'utf8').slice(before);
  await until('somebody who listens', () => said().includes('Listening on'));
  return {
    said,
    async end() {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      const end = await ended;
      process.off('exit', killer);
      return end;
    },
  };
}

const callOf = async (client: Client, ms: number) => (await client.call('later', { ms })).result;

test('the first request starts a broker and is answered; a stop waits for its calls; the next broker knows its sessions', {
  skip,
}, async () => {
  await using stage = await startServeStage();
  const first = await activate(stage);
  assert.doesNotMatch(first.said(), /broker\.ready/);
  const client = await connect(stage.mcpUrl, await stage.signIn('alice'));
  assert.match(first.said(), /broker\.ready/);
  const call = callOf(client, 1000);
  await until('the call', async () => {
    const { received } = (await client.call('received')).result;
    return received.some((line: string) => line.includes('later'));
  });
  const ended = first.end();
  assert.deepEqual(await call, { waited: 1000 });
  assert.deepEqual(await ended, [0, null]);
  const second = await activate(stage);
  assert.deepEqual(await callOf(client, 0), { waited: 0 });
  assert.deepEqual(await second.end(), [0, null]);
});
