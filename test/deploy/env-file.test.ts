/** An operator's first file must not lie: every variable is in it, and each commented line shows the true default. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type LoadedConfig, loadConfig } from '../../src/config.js';
import { root } from '../support/demo.js';
import { readExampleEnv } from './env-file.js';

const SECRETS = {
  BROKER_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64'),
  FORGEJO_CLIENT_SECRET: 'gto_secret',
};
const { active, commented } = readExampleEnv();

function load(env: Readonly<Record<string, string>>): LoadedConfig['config'] {
  const loaded = loadConfig(env, () => '');
  assert.ok(!('problems' in loaded), JSON.stringify(loaded));
  return loaded.config;
}

/** Everything in it that can be compared: a BlockList shows its networks only when asked. */
const comparable = (config: LoadedConfig['config']) => ({
  ...config,
  trustedProxies: config.trustedProxies.rules,
});

test('the example environment names every variable that the configuration reads, and no other', () => {
  const source = readFileSync(join(root, 'src/config.ts'), 'utf8');
  const read = new Set(source.match(/\b(?:BROKER|FORGEJO)_[A-Z_]+\b/g));
  const shown = [...Object.keys(active), ...Object.keys(commented)];
  assert.deepEqual(shown.sort(), [...read].sort());
});

test('the example environment with the two secrets is a valid configuration', () => {
  assert.equal(load({ ...active, ...SECRETS }).publicUrl, 'https://mcp.example.org');
});

test('each commented line of the example environment shows the default', () => {
  const defaults = comparable(load({ ...active, ...SECRETS }));
  for (const [name, value] of Object.entries(commented)) {
    if (name in SECRETS) continue;
    assert.deepEqual(comparable(load({ ...active, ...SECRETS, [name]: value })), defaults, name);
  }
});
