/** The store drivers that the conformance suites run against, and rows to put into them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import type { EraStore } from '../../src/backend/era-store.js';
import type { SessionStore } from '../../src/backend/session-store.js';
import { DAY, MINUTE } from '../../src/base/clock.js';
import { type ClientId, type GrantId, sha256, type UserId } from '../../src/base/ids.js';
import type { AdminStore } from '../../src/oauth/admin.js';
import type { AuditStore } from '../../src/oauth/audit.js';
import type { Client } from '../../src/oauth/clients.js';
import type { CredentialStore, OAuthStore, SignIn, TokenHashes } from '../../src/oauth/ports.js';
import { openSqliteAdmin } from '../../src/store/sqlite-admin.js';
import { openSqliteStore } from '../../src/store/sqlite-store.js';

export type Store = OAuthStore & CredentialStore & AuditStore & SessionStore & EraStore & AsyncDisposable;

const folder = mkdtempSync(join(tmpdir(), 'fjmcp-store-'));
after(() => rmSync(folder, { recursive: true }));
let databases = 0;
export const nextPath = () => join(folder, `sub/${databases++}.db`);

export interface Driver {
  readonly name: string;
  readonly open: () => { readonly store: Store; readonly openAdmin: () => AdminStore & Disposable };
}

export const DRIVERS: readonly Driver[] = [
  {
    name: 'sqlite',
    open: () => {
      const path = nextPath();
      return { store: openSqliteStore(path), openAdmin: () => openSqliteAdmin(path) };
    },
  },
];

export const NOW = 1_800_000_000_000;
export const POLICY = { graceMs: 2 * MINUTE, maxRotations: 3 };

export const client = (id: string): Client => ({
  id: id as ClientId,
  kind: 'dynamic',
  name: 'a client',
  redirectUris: ['https://client.example/cb'],
  authMethod: 'none',
  secretHash: undefined,
  jwksUri: undefined,
  grantTypes: ['authorization_code', 'refresh_token'],
  uri: undefined,
  createdAt: NOW,
});

export function signIn(n: number, subject: string, overrides: Partial<SignIn> = {}): SignIn {
  return {
    newUserId: `us_${n}` as UserId,
    identity: { issuer: 'https://forgejo.example', subject, login: `user${subject}` },
    client: client('cl_1'),
    credential: { sealed: Buffer.from(`sealed ${n}`), keyId: 'k1', issuedAt: NOW, expiresAt: NOW + 60_000 },
    grant: {
      id: `gr_${n}` as GrantId,
      clientId: 'cl_1' as ClientId,
      resource: 'https://mcp.example/mcp',
      scope: 'mcp',
      createdAt: NOW,
    },
    code: {
      hash: sha256(`code ${n}`),
      redirectUri: 'https://client.example/cb',
      codeChallenge: 'c',
      expiresAt: NOW + 5 * MINUTE,
    },
    ...overrides,
  };
}

export const pair = (name: string, now = NOW): TokenHashes => ({
  access: { hash: sha256(`access ${name}`), expiresAt: now + 60 * MINUTE },
  refresh: { hash: sha256(`refresh ${name}`), expiresAt: now + 90 * DAY },
});
