/** Credentials on a store of their own, before an upstream that answers when and as a test likes. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MINUTE } from '../../src/base/clock.js';
import { type ClientId, type GrantId, sha256, type UserId } from '../../src/base/ids.js';
import { createRecordingLog } from '../../src/base/log.js';
import { createMetrics } from '../../src/base/metrics.js';
import { Secret } from '../../src/base/secret.js';
import { Credentials } from '../../src/identity/credentials.js';
import { KeyRing } from '../../src/identity/sealing.js';
import { Unsaved } from '../../src/identity/unsaved.js';
import { createAudit } from '../../src/oauth/audit.js';
import type { Client } from '../../src/oauth/clients.js';
import {
  type IdentityFault,
  type IdentityProvider,
  isIdentityFault,
  type UpstreamTokens,
} from '../../src/oauth/identity.js';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.js';
import { parseSeries } from './scrape.js';

export const USER = 'us_1' as UserId;
export const IDENTITY = { issuer: 'https://forgejo.example', subject: '7', login: 'alice' };
export const START = 1_800_000_000_000;

/** An upstream port whose refreshes are answered by the test, when and as it likes. */
function scriptedUpstream(now: () => number) {
  const asked: ((answer: UpstreamTokens | IdentityFault) => void)[] = [];
  const codes: ((answer: UpstreamTokens | IdentityFault) => void)[] = [];
  let user: IdentityFault | typeof IDENTITY = IDENTITY;
  const provider: IdentityProvider = {
    issuer: IDENTITY.issuer,
    displayName: 'forgejo.example',
    createVerifier: () => 'v',
    authorizationUrl: () => '',
    check: async () => undefined,
    redeemCode: () => new Promise((resolve) => codes.push(resolve)),
    refresh: () => new Promise((resolve) => asked.push(resolve)),
    identify: async () => user,
    explainError: () => ({ kind: 'unreachable', detail: '' }),
  };
  return {
    provider,
    asked,
    /** Codes that are being redeemed. */
    codes,
    answer: (text: string, seconds = 3600) =>
      asked.shift()?.({
        access: new Secret(`access ${text}`),
        refresh: new Secret(`refresh ${text}`),
        issuedAt: now(),
        expiresAt: now() + seconds * 1000,
      }),
    fail: (kind: IdentityFault['kind']) => asked.shift()?.({ kind, detail: 'because' }),
    /** What `/api/v1/user` says from now on. */
    say: (what: IdentityFault['kind'] | 'fine') => {
      user = what === 'fine' ? IDENTITY : { kind: what, detail: 'as the test says' };
    },
  };
}

export async function setUpCredentials({ failingWrites = 0, patienceMs = 10_000 } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'fjmcp-credentials-'));
  let time = START;
  const now = () => time;
  const database = join(folder, 'broker.db');
  const store = openSqliteStore(database);
  const keys = new KeyRing([randomBytes(32)], randomBytes);
  const upstream = scriptedUpstream(now);
  let failuresLeft = failingWrites;
  const metrics = createMetrics({ ofProcess: false });
  const signedOut: string[] = [];
  const logged: string[] = [];
  const log = createRecordingLog((_level, event) => logged.push(event));
  const createUnsaved = (on: SqliteStore, identity: IdentityProvider) =>
    new Unsaved({
      store: {
        ...on,
        async replaceCredential(...written) {
          failuresLeft -= 1;
          if (failuresLeft >= 0) throw new Error('disk full');
          return on.replaceCredential(...written);
        },
      },
      identity,
      keys,
      now,
      log,
    });
  const createCredentials = (
    on: SqliteStore,
    identity: IdentityProvider = upstream.provider,
    counted = createMetrics({ ofProcess: false }),
    unsaved = createUnsaved(on, identity),
  ) => {
    return new Credentials({
      store: on,
      identity,
      keys,
      unsaved,
      onSignedOut: (_user, { kind }) => signedOut.push(kind),
      audit: createAudit({ store: on, log, now, random: randomBytes }),
      metrics: counted,
      now,
      random: randomBytes,
      log,
      timing: { patienceMs, othersMs: 100 },
    });
  };
  const unsaved = createUnsaved(store, upstream.provider);
  const credentials = createCredentials(store, upstream.provider, metrics, unsaved);
  const client: Client = {
    id: 'cl_1' as ClientId,
    kind: 'dynamic',
    name: 'c',
    redirectUris: [],
    authMethod: 'none',
    secretHash: undefined,
    jwksUri: undefined,
    grantTypes: ['authorization_code'],
    uri: undefined,
    createdAt: START,
  };
  await store.addClient(client);
  const signIn = (n: number, access: string) =>
    store.recordSignIn({
      newUserId: USER,
      identity: IDENTITY,
      client,
      credential: keys.seal(IDENTITY, {
        access: new Secret(access),
        refresh: new Secret(`refresh of ${access}`),
        issuedAt: time,
        expiresAt: time + 60 * MINUTE,
      }),
      grant: {
        id: `gr_${n}` as GrantId,
        clientId: 'cl_1' as ClientId,
        resource: 'r',
        scope: 'mcp',
        createdAt: time,
      },
      code: { hash: sha256(`${n}`), redirectUri: 'x', codeChallenge: 'c', expiresAt: time },
    });
  await signIn(1, 'access first');
  /** Waits until the upstream was asked `count` times in all that are still unanswered. */
  const untilAsked = async (count = 1) => {
    while (upstream.asked.length < count) await new Promise((resolve) => setImmediate(resolve));
  };
  const read = async (from = credentials, user = USER) => {
    const fresh = await from.fresh(user);
    return isIdentityFault(fresh) ? fresh.kind : fresh.tokens.access.reveal();
  };
  /** How often a refresh ended in which way. */
  const refreshes = async () =>
    Object.fromEntries(
      [...parseSeries(await metrics.text())]
        .filter(([, count]) => count > 0)
        .map(([name, count]) => [/outcome="(\w+)"/.exec(name)?.[1], count]),
    );
  return {
    refreshes,
    database,
    createCredentials,
    signedOut,
    logged,
    now,
    store,
    keys,
    upstream,
    unsaved,
    credentials,
    signIn,
    untilAsked,
    read,
    forward: (ms: number) => {
      time += ms;
    },
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true });
    },
  };
}
