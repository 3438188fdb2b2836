/** What strangers can fill, and whom they can lock out: registrations, and the minute of a client at the token endpoint. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ask } from '../support/ask.js';
import { startDocumentHost } from '../support/document-host.js';
import { NOWHERE } from '../support/oauth-client.js';
import { type Fields, type Stage, setStage } from '../support/stage.js';

test('a registration has 16 KiB at most', async () => {
  await using it = await setStage();
  const register = (bytes: number) => {
    const [head, tail] = [`{"redirect_uris":["${NOWHERE}"],"x":"`, '"}'];
    const body = head + 'x'.repeat(bytes - head.length - tail.length) + tail;
    return ask(`${it.broker.url}/oauth/register`, 'POST', { 'Content-Length': bytes }, body);
  };
  assert.equal((await register(16 * 1024)).status, 201);
  const { status, body } = await register(16 * 1024 + 1);
  assert.deepEqual([status, (JSON.parse(body) as { error: string }).error], [400, 'invalid_request']);
});

for (const kind of ['a public client', 'a document'] as const) {
  describe(`300 token requests a minute of ${kind}`, () => {
    async function setUp() {
      const host = await startDocumentHost();
      const it = await setStage({ network: host.network });
      const id = `${host.url}/client.json`;
      host.serve('/client.json', { client_id: id, redirect_uris: [NOWHERE] });
      const client = kind === 'a document' ? { clientId: id, redirectUri: NOWHERE } : it.client;
      /** The refresh token of a new grant. */
      const grant = async () => {
        const answer = await it.signIn(it.authorizationUrl(client));
        const { body } = await it.redeem(answer.searchParams.get('code') ?? '', {
          client_id: client.clientId,
        });
        return String(body.refresh_token);
      };
      const refresh = (token: string, more: Fields = {}) =>
        it.refresh(token, { client_id: client.clientId, ...more });
      return {
        it,
        grant,
        refresh,
        async [Symbol.asyncDispose]() {
          await it[Symbol.asyncDispose]();
          await host[Symbol.asyncDispose]();
        },
      };
    }
    const inBatches = async (count: number, task: (index: number) => ReturnType<Stage['refresh']>) => {
      const answers = [];
      for (let at = 0; at < count; at += 10)
        answers.push(...(await Promise.all(Array.from({ length: 10 }, (_, index) => task(at + index)))));
      return answers;
    };

    test('are counted for the grant, however its tokens change', async () => {
      await using at = await setUp();
      const [other, first] = [await at.grant(), await at.grant()];
      let token = first;
      // The code was one.
      for (let chained = 1; chained < 30; chained += 1) {
        const answers = await inBatches(10, () => at.refresh(token));
        assert.ok(answers.every(({ status }) => status === 200));
        token = String(answers[0]?.body.refresh_token);
      }
      const last = await inBatches(10, () => at.refresh(token));
      assert.equal(last.filter(({ status }) => status === 429).length, 1);
      assert.equal((await at.refresh(token)).status, 429);
      assert.equal((await at.refresh(other)).status, 200);
    });

    test('are not used up by strangers who know its name', async () => {
      await using at = await setUp();
      const token = await at.grant();
      const answers = await inBatches(310, (index) => at.refresh(`fjr_${index % 2}`, { client_secret: 'x' }));
      assert.ok(answers.every(({ status }) => status === 400));
      assert.equal((await at.refresh(token)).status, 200);
    });
  });
}
