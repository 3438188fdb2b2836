/** A database as it would be after years: rows in every table, with secrets that the benchmark knows. */
import { createHash } from 'node:crypto';
import { sha256 } from '../../src/base/ids.js';
import { Secret } from '../../src/base/secret.js';
import { KeyRing } from '../../src/identity/sealing.js';
import { connect } from '../../src/store/sqlite.js';
import { openSqliteStore } from '../../src/store/sqlite-store.js';

export interface Seed {
  readonly path: string;
  /** How many users there are, and clients, grants, codes, access tokens, refresh tokens and audit events. */
  readonly rows: number;
  /** Stored, and not in any broker's memory. */
  readonly sessions: number;
  readonly key: Buffer;
  readonly publicUrl: string;
  readonly forgejoUrl: string;
}

const DAY_MS = 86_400_000;
/** Below what one user may have. */
export const SESSIONS_PER_USER = 100;
const VERIFIER = 'v'.repeat(43);
const REDIRECT_URI = 'http://127.0.0.1:1/callback';
const INITIALIZE = Buffer.from(
  '{"jsonrpc":"2.0","id":"fjmcp-broker","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}',
);

export const accessToken = (row: number): string => `fja_bench-${row}`;
export const sessionId = (row: number): string => `se_bench-${row}`;
export const ownerOf = (session: number): number => Math.floor(session / SESSIONS_PER_USER);

/** The token endpoint's forms; every client is asked for once. */
export const codeForm = (row: number): string =>
  `grant_type=authorization_code&client_id=cl_${row}&code=fjc_${row}&code_verifier=${VERIFIER}&redirect_uri=${encodeURIComponent(REDIRECT_URI)}`;
export const refreshForm = (row: number): string =>
  `grant_type=refresh_token&client_id=cl_${row}&refresh_token=fjr_${row}`;

export async function seed({ path, rows, sessions, key, publicUrl, forgejoUrl }: Seed): Promise<void> {
  // Brings the schema up to date.
  await openSqliteStore(path)[Symbol.asyncDispose]();
  const db = connect(path);
  const now = Date.now();
  const later = now + DAY_MS;
  const keys = new KeyRing([key], (size) => Buffer.alloc(size, 7));
  const challenge = createHash('sha256').update(VERIFIER).digest('base64url');
  const insert = (table: string, columns: string) =>
    db.prepare(`insert into ${table} (${columns}) values (${columns.replace(/\w+/g, '?')})`);
  const client = insert('clients', 'id, kind, name, redirect_uris, auth_method, grant_types, created_at');
  const user = insert('users', 'id, issuer, subject, login');
  const credential = insert('credentials', 'user_id, sealed, key_id, expires_at, issued_at, version, state');
  const grant = insert('grants', 'id, user_id, client_id, resource, scope, created_at');
  const code = insert('authorization_codes', 'hash, grant_id, redirect_uri, code_challenge, expires_at');
  const token = insert('tokens', 'hash, kind, grant_id, expires_at, rotations');
  const session = insert('sessions', 'id, user_id, grant_id, server, initialize, subscriptions, seen_at');
  const event = insert('audit_events', 'id, kind, at');

  const grantTypes = '["authorization_code","refresh_token"]';
  const redirectUris = JSON.stringify([REDIRECT_URI]);
  db.pragma('synchronous = off');
  db.exec('begin');
  for (let i = 0; i < rows; i += 1) {
    const identity = { issuer: forgejoUrl, subject: `${i}`, login: `user${i}` };
    const { sealed, keyId } = keys.seal(identity, {
      access: new Secret(createHash('sha1').update(`${i}`).digest('hex')),
      refresh: new Secret(`refresh-${i}`),
      issuedAt: now,
      expiresAt: later,
    });
    client.run(`cl_${i}`, 'dynamic', 'Bench', redirectUris, 'none', grantTypes, now);
    user.run(`us_${i}`, identity.issuer, identity.subject, identity.login);
    credential.run(`us_${i}`, sealed, keyId, later, now, 1, 'alive');
    grant.run(`gr_${i}`, `us_${i}`, `cl_${i}`, publicUrl, 'mcp', now);
    code.run(sha256(`fjc_${i}`), `gr_${i}`, REDIRECT_URI, challenge, later);
    token.run(sha256(accessToken(i)), 'access', `gr_${i}`, later, 0);
    token.run(sha256(`fjr_${i}`), 'refresh', `gr_${i}`, later, 0);
    event.run(`au_${i}`, 'grant.made', now);
  }
  for (let i = 0; i < sessions; i += 1) {
    const owner = ownerOf(i);
    session.run(sessionId(i), `us_${owner}`, `gr_${owner}`, 'forgejo', INITIALIZE, '[]', now);
  }
  db.exec('commit');
  db.close();
}
