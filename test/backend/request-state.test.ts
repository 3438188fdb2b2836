/** Who may come back with which state, and to what. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { openState, type Place, sealState } from '../../src/backend/request-state.js';
import type { GrantId, UserId } from '../../src/base/ids.js';
import { KeyRing } from '../../src/identity/sealing.js';
import { modernRequest, readModern } from '../fixtures/modern.js';

const key = randomBytes(32);
const sealer = new KeyRing([key], randomBytes).sealer('requestState');
const GOAL = { call: 'ca_1', round: 2 };
const ARGUMENTS = { name: 'a', arguments: { n: 1 } };

const place = (own: Partial<Place> & { user?: string; grant?: string } = {}): Place => ({
  caller: { userId: (own.user ?? 'ann') as UserId, grantId: (own.grant ?? 'ann.1') as GrantId },
  server: own.server ?? 'main',
  request: own.request ?? modernRequest('tools/call', ARGUMENTS),
});

const seal = () => sealState(sealer, place(), GOAL, 1000);
const reasonOf = (opened: ReturnType<typeof openState>): string =>
  typeof opened === 'object' && 'fault' in opened
    ? `${opened.fault.code} ${opened.fault.message}`
    : JSON.stringify(opened);

test('a state leads its client back to the call and the round', () => {
  assert.deepEqual(openState(sealer, place(), seal(), 999), GOAL);
  assert.equal(openState(sealer, place(), sealState(sealer, place(), 'a new call', 1000), 999), 'a new call');
});

test('answers, state and progress token may differ from call to retry', () => {
  const request = modernRequest('tools/call', {
    ...ARGUMENTS,
    inputResponses: { a: {} },
    requestState: 'x',
    _meta: { progressToken: 7 },
  });
  assert.deepEqual(openState(sealer, place({ request }), seal(), 0), GOAL);
});

const call = (params: object, method = 'tools/call') => place({ request: modernRequest(method, params) });
const FOREIGN = /^-32602 .*not given to this client/;
const OTHER = /^-32602 .*another request/;

const REFUSED: Readonly<Record<string, readonly [at: Place, why: RegExp, now?: number]>> = {
  'of another user': [place({ user: 'bob' }), FOREIGN],
  'of another grant of the user': [place({ grant: 'ann.2' }), FOREIGN],
  'of another server': [place({ server: 'other' }), OTHER],
  'of another tool': [call({ ...ARGUMENTS, name: 'b' }), OTHER],
  'of other arguments': [call({ ...ARGUMENTS, arguments: { n: 2 } }), OTHER],
  'of another method': [call(ARGUMENTS, 'prompts/get'), OTHER],
  'whose time is up': [place(), /^-32602 .*expired.*again/, 1000],
};

for (const [what, [at, why, now = 0]] of Object.entries(REFUSED)) {
  test(`a state ${what} is refused`, () => assert.match(reasonOf(openState(sealer, at, seal(), now)), why));
}

test('a state that is altered anywhere is refused', () => {
  const state = seal();
  for (let i = 0; i < state.length; i += 1) {
    const other = state[i] === 'A' ? 'B' : 'A';
    const altered = state.slice(0, i) + other + state.slice(i + 1);
    assert.match(reasonOf(openState(sealer, place(), altered, 0)), FOREIGN, `${i}`);
  }
  for (const altered of ['', '.', `${state}A`, `${state}.`, `${state}=`, state.slice(0, -1), 'x'.repeat(1e5)])
    assert.match(reasonOf(openState(sealer, place(), altered, 0)), FOREIGN, altered.slice(0, 20));
});

test('a state survives a restart and a new key, but not the loss of its key, nor another purpose', () => {
  const state = seal();
  const ring = new KeyRing([randomBytes(32), key], randomBytes);
  assert.deepEqual(openState(ring.sealer('requestState'), place(), state, 0), GOAL);
  assert.match(reasonOf(openState(ring.sealer('other'), place(), state, 0)), FOREIGN);
  const lost = new KeyRing([randomBytes(32)], randomBytes);
  assert.match(reasonOf(openState(lost.sealer('requestState'), place(), state, 0)), FOREIGN);
});

test('a state says nothing of the call, and is short', () => {
  const secret = 'password-in-arguments';
  const request = readModern(
    `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"p":"${secret}${'x'.repeat(10_000)}"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`,
  );
  const state = sealState(sealer, place({ request }), GOAL, 1000);
  assert.ok(state.length < 300, `${state.length}`);
  assert.ok(!Buffer.from(state, 'base64url').includes(secret));
});
