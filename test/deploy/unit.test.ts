/** What the unit says of a stop and a restart agrees with what the broker does. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from '../support/command.js';
import { readExampleEnv } from './env-file.js';

const unit = readFileSync(join(root, 'deploy/fjmcp-broker.service'), 'utf8');
const setting = (name: string) => new RegExp(`^${name}=(.*)$`, 'm').exec(unit)?.[1];

test('the service manager waits for calls in flight, and for the end of the children after them', () => {
  const drain = Number(readExampleEnv().commented.BROKER_DRAIN_SECONDS);
  assert.ok(Number.parseInt(setting('TimeoutStopSec') ?? '', 10) >= drain + 10);
  assert.equal(
    setting('KillMode'),
    'mixed',
    'SIGTERM is for the broker alone, which ends its children in order',
  );
});

test('a broker that fails is started again, unless its configuration is wrong', () => {
  assert.equal(setting('Restart'), 'on-failure');
  assert.equal(setting('RestartPreventExitStatus'), '2');
});
