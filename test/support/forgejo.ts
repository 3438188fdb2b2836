/** The stand-in Forgejo with a key made beforehand: to make one takes longer than to sign in with it. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  type ForgejoOptions,
  type StandInForgejo,
  startForgejo as start,
} from '../../src/demo/forgejo/forgejo.js';

const signingKey = readFileSync(
  resolve(import.meta.dirname, '../../../test/fixtures/forgejo.test.key.pem'),
  'utf8',
);

export function startForgejo(options: ForgejoOptions = {}): Promise<StandInForgejo> {
  return start({ signingKey, ...options });
}
