/** What the consent page says, word for word: it is all that a user has to judge a stranger by. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Hono } from 'hono';
import type { ClientId } from '../../src/base/ids.js';
import { consentPage, renderPage, type Upstream } from '../../src/http/pages.js';
import type { Client } from '../../src/oauth/clients.js';
import type { PendingId } from '../../src/oauth/pending.js';
import { startTestBroker } from '../support/broker.js';
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
const PINNED = {
  kind: 'document',
  id: 'https://claude.ai/oauth/mcp-oauth-client-metadata' as ClientId,
} as const;
const LOOPBACK = 'http://127.0.0.1:4321/callback';
const NATIVE = 'cursor://anysphere.cursor-mcp/oauth/callback';

function between(text: string, from: string, to: string): string {
  const start = text.indexOf(from) + from.length;
  const end = text.indexOf(to, start);
  assert.ok(start >= from.length && end >= start, `no "${from}" to "${to}" in: ${text}`);
  return text.slice(start, end).trim();
}

test("a stranger's document vouches for nothing: the user is told, and warned as of a registration", async () => {
  const text = await read(STRANGERS_DOCUMENT);
  assert.ok(text.includes('It describes itself in a document at evil.example. Nobody has checked it.'), text);
  assert.ok(text.includes('Do you know app.example ?'), text);
  assert.ok(!text.includes('vouches'), text);
});

const KINDS: readonly (readonly [who: string, client: Partial<Client>, told: string])[] = [
  [
    'one that registered itself',
    {},
    'Claude It registered itself with this name. Nobody has checked who it is.',
  ],
  [
    'one that registered itself and a page',
    { uri: 'https://claude.ai' },
    'Claude It registered itself with this name and this page: https://claude.ai. Nobody has checked who it is.',
  ],
  [
    'one with a document that nobody knows',
    STRANGERS_DOCUMENT,
    'Claude It describes itself in a document at evil.example. Nobody has checked it.',
  ],
  [
    'one with a document that we know',
    PINNED,
    'Claude claude.ai describes this application and vouches for its name.',
  ],
  [
    'one with a document that we know, but only by our copy',
    { ...PINNED, pinned: true },
    'Claude claude.ai describes this application. It could not be asked just now; this broker used its own copy.',
  ],
  [
    'one that the operator made',
    { kind: 'registered' },
    'Claude The operator of this broker set this application up.',
  ],
];

describe('the consent page says who asks, and how we know it, for', () => {
  for (const [who, client, told] of KINDS) {
    test(who, async () => {
      assert.equal(between(await read(client), 'Who asks', 'Where the answer goes'), told);
    });
  }
});

const STRANGERS_WARNING =
  'Do you know app.example ? It will act as you. Continue only if you have just started this yourself.';
const LOCAL_WARNING =
  'Any program on this computer can call itself Claude. Continue only if you have just started this yourself, in a program that you trust.';

const WARNINGS: readonly (readonly [whom: string, client: Partial<Client>, uri: string, warning: string])[] =
  [
    ['a registration', {}, WEB, STRANGERS_WARNING],
    ["a stranger's document", STRANGERS_DOCUMENT, WEB, STRANGERS_WARNING],
    ['a document that we know', PINNED, WEB, ''],
    ['our copy of it', { ...PINNED, pinned: true }, WEB, ''],
    ['what the operator made', { kind: 'registered' }, WEB, ''],
    ['a registration on this computer', {}, LOOPBACK, LOCAL_WARNING],
    ['a document on this computer, whoever vouches for it', PINNED, LOOPBACK, LOCAL_WARNING],
    ['what the operator made for this computer', { kind: 'registered' }, LOOPBACK, LOCAL_WARNING],
    ['a native application', {}, NATIVE, LOCAL_WARNING],
  ];

describe('the warning for', () => {
  for (const [whom, client, uri, warning] of WARNINGS) {
    test(`${whom} is ${warning === '' ? 'none' : `"${warning.slice(0, 35)}…"`}`, async () => {
      const text = await read(client, uri);
      assert.equal(between(text, 'connected through it.', 'Continue with Forgejo'), warning);
    });
  }
});

describe('the answer goes', () => {
  for (const [uri, told] of [
    [WEB, 'app.example'],
    ['https://app.example:8443/cb', 'app.example:8443'],
    // As the browser's address bar shows a name that only looks like another.
    ['https://\u0430pp.example/cb', 'xn--pp-6kc.example'],
    [LOOPBACK, 'A program on this computer, at 127.0.0.1'],
    ['http://localhost:4321/cb', 'A program on this computer, at localhost'],
    [NATIVE, 'The program on this computer that opens cursor: links'],
  ] as const) {
    test(`to ${told}, for ${uri}`, async () => {
      assert.equal(between(await read({}, uri), 'Where the answer goes', 'What it will be able to do'), told);
    });
  }
});

test('permissions are the scopes in plain words, and write includes read', async () => {
  const scopes = ['read:user', 'write:repository', 'write:issue', 'read:organization', 'write:admin'];
  const text = await read({}, WEB, { scopes });
  assert.equal(
    between(text, 'What it will be able to do', 'For how long'),
    [
      'Use the tools of this broker with your account at forgejo.example :',
      'Read your profile and account settings',
      'Read and change your repositories: files, branches, pull requests',
      'Read and change issues and comments',
      'Read your organisations and teams',
      'Read and change the administration of the whole instance',
    ].join(' '),
  );
});

test('no scope that can be configured is left without a word', async () => {
  const categories = 'activitypub admin issue misc notification organization package repository user'.split(
    ' ',
  );
  for (const category of categories) {
    const text = await read({}, WEB, { scopes: [`read:${category}`] });
    assert.match(between(text, 'forgejo.example :', 'For how long'), /^Read \w/, category);
  }
});

test('who answers for the broker stands below, and how to end it and where the password goes above', async () => {
  const text = await read({});
  assert.ok(text.endsWith('Broker for forgejo.example , run by Example Ltd .'), text);
  assert.match(text, /revoke this broker at forgejo\.example under Settings, Applications/);
  assert.match(text, /Your password goes to forgejo\.example only\./);
});

test('a name cannot dress up: not by direction, invisible letters, piled accents or length', async () => {
  const text = await read({ name: `\u202eCla\u200bude${'\u0301'.repeat(9)}${'x'.repeat(200)}` });
  assert.doesNotMatch(text, /[\u202e\u200b]|\u0301{3}|x{101}/);
});

test('a client without a name asks as one', async () => {
  assert.match(await read({ name: '\u200b' }), /^Let an application without a name use Forgejo as you\?/);
});

test('a document that cannot be read is told with its host and as what may pass, not as a client that was forgotten', async () => {
  await using broker = await startTestBroker({ env: { BROKER_DATABASE: ':memory:' } });
  const read = async (id: string) => {
    const response = await fetch(`${broker.url}/oauth/authorize?${new URLSearchParams({ client_id: id })}`);
    assert.equal(response.status, 400);
    return textOf(await response.text());
  };
  const text = await read('https://gone.example/client.json');
  assert.match(text, /Its description at gone\.example could not be read\. Try again later\./);
  assert.doesNotMatch(text, /forgotten|add it again/);
  assert.match(await read('cl_unknown'), /forgotten/);
});
