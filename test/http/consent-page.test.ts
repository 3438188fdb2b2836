/** What the consent page says, word for word: it is all that a user has to judge a stranger by. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Hono } from 'hono';
import type { ClientId } from '../../src/base/ids.js';
import { consentPage, renderPage, type Upstream } from '../../src/http/pages.js';
import type { Client } from '../../src/oauth/clients.js';
import type { PendingId } from '../../src/oauth/pending.js';
import { textOf } from '../support/html.js';

const UPSTREAM: Upstream = {
  name: 'forgejo.example',
  url: 'https://forgejo.example',
  scopes: ['read:user', 'write:repository'],
  operator: 'Example Ltd',
};

const CLIENT: Client = {
  id: 'cl_1' as ClientId,
  kind: 'dynamic',
  name: 'Claude',
  redirectUris: [],
  authMethod: 'none',
  secretHash: undefined,
  jwksUri: undefined,
  grantTypes: ['authorization_code'],
  uri: undefined,
  createdAt: 0,
};

const WEB = 'https://app.example/oauth/callback?from=x';

/** The page as a person reads it. */
async function read(
  client: Partial<Client>,
  redirectUri = WEB,
  upstream: Partial<Upstream> = {},
): Promise<string> {
  const request = {
    client: { ...CLIENT, ...client },
    redirectUri,
    state: undefined,
    scope: 'mcp',
    resource: 'https://mcp.example/mcp',
    codeChallenge: 'c',
  };
  const form = { id: 'pa_1' as PendingId, csrf: 'token', request };
  const page = consentPage(form, { ...UPSTREAM, ...upstream });
  const response = await new Hono().get('/', (c) => renderPage(c, 200, page)).request('/');
  return textOf(await response.text());
}

const STRANGERS_DOCUMENT = { kind: 'document', id: 'https://evil.example/client.json' as ClientId } as const;

test("a stranger's document vouches for nothing: the user is told, and warned as of a registration", async () => {
  const text = await read(STRANGERS_DOCUMENT);
  assert.ok(text.includes('It describes itself in a document at evil.example. Nobody has checked it.'), text);
  assert.ok(text.includes('Do you know app.example ?'), text);
  assert.ok(!text.includes('vouches'), text);
});
