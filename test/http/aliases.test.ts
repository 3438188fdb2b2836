/** Clients of 2025-03-26 that find no metadata guess the paths. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestBroker } from '../support/broker.js';
import { Browser } from '../support/browser.js';
import { authorize, discover, refresh, register } from '../support/oauth-client.js';

test('the default paths of 2025-03-26 lead to the same endpoints', async () => {
  await using broker = await startTestBroker();
  const discovery = await discover(broker.mcpUrl);
  const guessed = {
    ...discovery,
    server: {
      ...discovery.server,
      authorization_endpoint: `${broker.url}/authorize`,
      token_endpoint: `${broker.url}/token`,
      registration_endpoint: `${broker.url}/register`,
    },
  };
  const client = await register(guessed);
  const tokens = await authorize(guessed, client, broker.person('alice'), new Browser());
  assert.ok((await refresh(guessed, client, tokens.refresh_token ?? '')).access_token);
});
