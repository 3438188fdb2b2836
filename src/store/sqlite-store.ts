/** The store port on SQLite: each verb is one synchronous transaction, so nothing can stand between its reads and writes. */
import { and, eq, isNotNull, isNull, like, lt, ne, notExists, or, sql } from 'drizzle-orm';
import type { EraStore } from '../backend/era-store.js';
import type { SessionStore } from '../backend/session-store.js';
import { DAY } from '../base/clock.js';
import type { ClientId, GrantId, Sha256, UserId } from '../base/ids.js';
import type { AuditEvent, AuditStore } from '../oauth/audit.js';
import type { Client } from '../oauth/clients.js';
import type {
  Code,
  Credential,
  CredentialStore,
  OAuthStore,
  ProbedStore,
  RedeemOutcome,
  RefreshPolicy,
  RevokedToken,
  RotateOutcome,
  SealedCredential,
  SignIn,
  TokenHashes,
  TokenRecord,
  UpstreamIdentity,
} from '../oauth/ports.js';
import { UNUSED_CLIENTS } from '../oauth/ports.js';
import { judgeRefresh, type Rotation } from '../oauth/refresh-policy.js';
import { openSqlite, type Sqlite } from './sqlite.js';
import {
  auditEvents,
  authorizationCodes,
  clients,
  credentials,
  grants,
  tokens,
  users,
} from './sqlite.schema.js';
import { countCredentialsByKey } from './sqlite-admin.js';
import { addClient, toClient } from './sqlite-clients.js';
import { sqliteEras } from './sqlite-eras.js';
import { remembering } from './sqlite-memory.js';
import { sqliteSessions } from './sqlite-sessions.js';
import { endUser } from './sqlite-users.js';

type Transaction = Parameters<Parameters<Sqlite['transaction']>[0]>[0];

/** A replaced refresh token is remembered this long, to recognise a thief who shows it late. */
const ROTATED_MEMORY_MS = 30 * DAY;
/** A code row outlives its code, to recognise a replay. */
const CODE_MEMORY_MS = DAY;
const CLIENT_NEVER_USED_MS = DAY;
const CLIENT_UNUSED_MS = 90 * DAY;
const AUDIT_MEMORY_MS = 400 * DAY;
const STRANGERS_MEMORY_MS = 30 * DAY;
/** Anybody can cause these, so they do not pile up as long. NOTE: `isOfStrangers` in oauth/audit.ts says the same. */
const ofStrangers = or(
  like(auditEvents.kind, '%.refused'),
  and(eq(auditEvents.kind, 'client.registered'), isNull(auditEvents.reason)),
);

export interface SqliteStore
  extends OAuthStore,
    CredentialStore,
    AuditStore,
    SessionStore,
    EraStore,
    ProbedStore,
    AsyncDisposable {}

/** Opens the store at `path`; throws when the file cannot be opened or migrated. */
export function openSqliteStore(path: string): SqliteStore {
  const { db, changes, probe, close } = openSqlite(path);
  const write = <T>(body: (tx: Transaction) => T): T => db.transaction(body, { behavior: 'immediate' });
  // Asked for by every MCP request.
  const accessToken = remembering(tokenQuery(db, 'access'), changes);
  const refreshToken = tokenQuery(db, 'refresh');

  return {
    ...sqliteSessions(db),
    ...sqliteEras(db),

    addClient: async (client, unused = UNUSED_CLIENTS) => write((tx) => addClient(tx, client, unused)),

    async addAuditEvent(event: AuditEvent): Promise<void> {
      db.insert(auditEvents).values(event).run();
    },

    async findClient(id: string): Promise<Client | undefined> {
      const row = db
        .select()
        .from(clients)
        .where(eq(clients.id, id as ClientId))
        .get();
      return row && toClient(row);
    },

    recordSignIn: async (signIn) => write((tx) => recordSignIn(tx, signIn)),

    findUser: async (identity) => findUser(db, identity),

    async keepCredential(identity: UpstreamIdentity, credential: SealedCredential): Promise<void> {
      write((tx) => {
        const user = findUser(tx, identity);
        if (user !== undefined) saveCredential(tx, user, credential);
      });
    },

    async findCode(hash: Sha256): Promise<Code | undefined> {
      const row = db
        .select({ code: authorizationCodes, grant: grants })
        .from(authorizationCodes)
        .innerJoin(grants, eq(grants.id, authorizationCodes.grantId))
        .where(eq(authorizationCodes.hash, hash))
        .get();
      return row && { ...row.code, grant: row.grant, redeemed: row.code.redeemedAt !== null };
    },

    redeemCode: async (hash, hashes, now) => write((tx) => redeemCode(tx, hash, hashes, now)),

    findRefreshToken: async (hash) => refreshToken(hash),

    rotateRefreshToken: async (hash, hashes, now, policy) =>
      write((tx) => rotateRefreshToken(tx, hash, hashes, now, policy)),

    findAccessToken: accessToken,

    revokeToken: async (hash, clientId) => write((tx) => revokeToken(tx, hash, clientId)),

    async missingGrants(ids: readonly GrantId[]): Promise<readonly GrantId[]> {
      // One parameter, however many ids: SQLite counts them.
      const asked = sql`json_each(${JSON.stringify(ids)})`;
      const kept = db.select({ id: grants.id }).from(grants);
      const rows = db.all<{ value: GrantId }>(sql`select value from ${asked} where value not in ${kept}`);
      return rows.map(({ value }) => value);
    },

    sweep: async (now) => write((tx) => sweep(tx, now)),

    async findCredential(userId: UserId): Promise<Credential | undefined> {
      const row = db
        .select({ credential: credentials, user: users })
        .from(credentials)
        .innerJoin(users, eq(users.id, credentials.userId))
        .where(eq(credentials.userId, userId))
        .get();
      return row && { ...row.credential, identity: row.user };
    },

    countCredentialsByKey: async () => countCredentialsByKey(db),

    async replaceCredential(userId: UserId, version: number, next: SealedCredential): Promise<boolean> {
      const { changes } = db
        .update(credentials)
        .set({ ...next, version: version + 1, state: 'alive' })
        .where(and(eq(credentials.userId, userId), eq(credentials.version, version)))
        .run();
      return changes === 1;
    },

    async retireCredential(userId: UserId, version: number): Promise<boolean> {
      const { changes } = db
        .update(credentials)
        .set({ state: 'dead' })
        .where(and(eq(credentials.userId, userId), eq(credentials.version, version)))
        .run();
      return changes === 1;
    },

    barUser: async (userId, version) => endUser(db, userId, version),

    probe: async () => probe(),

    async [Symbol.asyncDispose](): Promise<void> {
      close();
    },
  };
}

/** Prepared once. */
function tokenQuery(db: Sqlite, kind: 'access' | 'refresh') {
  const statement = db
    .select({
      grant: grants,
      expiresAt: tokens.expiresAt,
      credential: credentials.state,
      keyId: credentials.keyId,
      rotatedAt: tokens.rotatedAt,
      rotations: tokens.rotations,
      successorUsedAt: tokens.successorUsedAt,
    })
    .from(tokens)
    .innerJoin(grants, eq(grants.id, tokens.grantId))
    .innerJoin(credentials, eq(credentials.userId, grants.userId))
    .where(and(eq(tokens.hash, sql.placeholder('hash')), eq(tokens.kind, kind)))
    .prepare();
  return (hash: Sha256): (TokenRecord & Rotation) | undefined => statement.get({ hash });
}

function findUser(db: Sqlite | Transaction, { issuer, subject }: UpstreamIdentity): UserId | undefined {
  const known = and(eq(users.issuer, issuer), eq(users.subject, subject));
  return db.select({ id: users.id }).from(users).where(known).get()?.id;
}

function recordSignIn(tx: Transaction, signIn: SignIn): UserId | undefined {
  const { newUserId, identity, client, credential, grant, code } = signIn;
  const { issuer, subject, login } = identity;
  const user = tx
    .insert(users)
    .values({ id: newUserId, issuer, subject, login })
    .onConflictDoUpdate({ target: [users.issuer, users.subject], set: { login } })
    .returning({ id: users.id })
    .get();
  saveCredential(tx, user.id, credential);
  if (client.kind === 'document') keepDocument(tx, client);
  // Removed by the operator, or swept, while its user signed in.
  if (tx.select().from(clients).where(eq(clients.id, client.id)).get() === undefined) return undefined;
  tx.insert(grants)
    .values({ ...grant, userId: user.id })
    .run();
  tx.insert(authorizationCodes)
    .values({ ...code, grantId: grant.id })
    .run();
  tx.update(clients).set({ usedAt: grant.createdAt }).where(eq(clients.id, grant.clientId)).run();
  return user.id;
}

/** Replaces an older pair, and a dead one; a newer one stays, whichever of two sign-ins ends first. */
function saveCredential(tx: Transaction, userId: UserId, credential: SealedCredential): void {
  tx.insert(credentials)
    .values({ userId, ...credential, version: 1, state: 'alive' })
    .onConflictDoUpdate({
      target: credentials.userId,
      set: { ...credential, version: sql`${credentials.version} + 1`, state: 'alive' },
      setWhere: sql`${credentials.state} = 'dead' or ${credentials.issuedAt} <= ${credential.issuedAt}`,
    })
    .run();
}

/** The copy that serves when the document cannot be fetched after a restart. */
function keepDocument(tx: Transaction, { pinned: _pinned, createdAt, ...described }: Client): void {
  tx.insert(clients)
    .values({ ...described, createdAt })
    .onConflictDoUpdate({ target: clients.id, set: described })
    .run();
}

function redeemCode(tx: Transaction, hash: Sha256, hashes: TokenHashes, now: number): RedeemOutcome {
  const redeemed = tx
    .update(authorizationCodes)
    .set({ redeemedAt: now })
    .where(and(eq(authorizationCodes.hash, hash), isNull(authorizationCodes.redeemedAt)))
    .returning({ grantId: authorizationCodes.grantId })
    .get();
  if (redeemed !== undefined) {
    insertTokens(tx, redeemed.grantId, hashes);
    return 'redeemed';
  }
  const replayed = tx.select().from(authorizationCodes).where(eq(authorizationCodes.hash, hash)).get();
  if (replayed === undefined) return 'gone';
  tx.delete(grants).where(eq(grants.id, replayed.grantId)).run();
  return 'replayed';
}

function rotateRefreshToken(
  tx: Transaction,
  hash: Sha256,
  hashes: TokenHashes,
  now: number,
  policy: RefreshPolicy,
): RotateOutcome {
  const token = tx
    .select()
    .from(tokens)
    .where(and(eq(tokens.hash, hash), eq(tokens.kind, 'refresh')))
    .get();
  if (token === undefined) return 'gone';
  const verdict = judgeRefresh(token, now, policy);
  if (verdict === 'reused') tx.delete(grants).where(eq(grants.id, token.grantId)).run();
  if (verdict !== 'good') return verdict;
  tx.update(tokens)
    .set({ rotatedAt: token.rotatedAt ?? now, rotations: token.rotations + 1 })
    .where(eq(tokens.hash, hash))
    .run();
  if (token.predecessor !== null) {
    tx.update(tokens)
      .set({ successorUsedAt: now })
      .where(and(eq(tokens.hash, token.predecessor), isNull(tokens.successorUsedAt)))
      .run();
  }
  insertTokens(tx, token.grantId, hashes, hash);
  touchClient(tx, token.grantId, now);
  return 'rotated';
}

function touchClient(tx: Transaction, grantId: GrantId, now: number): void {
  const owner = tx.select({ id: grants.clientId }).from(grants).where(eq(grants.id, grantId));
  tx.update(clients).set({ usedAt: now }).where(sql`${clients.id} = (${owner})`).run();
}

function insertTokens(
  tx: Transaction,
  grantId: GrantId,
  { access, refresh }: TokenHashes,
  predecessor?: Sha256,
): void {
  tx.insert(tokens)
    .values({ ...access, kind: 'access', grantId })
    .run();
  if (refresh !== undefined) {
    tx.insert(tokens)
      .values({ ...refresh, kind: 'refresh', grantId, predecessor: predecessor ?? null })
      .run();
  }
}

function revokeToken(tx: Transaction, hash: Sha256, clientId: ClientId): RevokedToken | undefined {
  const token = tx
    .select({ kind: tokens.kind, grantId: tokens.grantId, clientId: grants.clientId })
    .from(tokens)
    .innerJoin(grants, eq(grants.id, tokens.grantId))
    .where(eq(tokens.hash, hash))
    .get();
  if (token?.clientId !== clientId) return undefined;
  const { kind, grantId } = token;
  if (kind === 'access') tx.delete(tokens).where(eq(tokens.hash, hash)).run();
  else tx.delete(grants).where(eq(grants.id, grantId)).run();
  return { kind, grant: grantId };
}

function sweep(tx: Transaction, now: number): number {
  const deadTokens = tx
    .delete(tokens)
    .where(
      or(
        lt(tokens.expiresAt, now),
        and(lt(tokens.rotatedAt, now - ROTATED_MEMORY_MS), isNotNull(tokens.successorUsedAt)),
      ),
    )
    .run();
  const deadCodes = tx
    .delete(authorizationCodes)
    .where(lt(authorizationCodes.expiresAt, now - CODE_MEMORY_MS))
    .run();
  const itsTokens = tx.select({ one: sql`1` }).from(tokens).where(eq(tokens.grantId, grants.id));
  const itsCodes = tx
    .select({ one: sql`1` })
    .from(authorizationCodes)
    .where(eq(authorizationCodes.grantId, grants.id));
  const deadGrants = tx
    .delete(grants)
    .where(and(notExists(itsTokens), notExists(itsCodes)))
    .run();
  const itsGrants = tx.select({ one: sql`1` }).from(grants).where(eq(grants.clientId, clients.id));
  const deadClients = tx
    .delete(clients)
    .where(
      and(
        // The operator's own stay until the operator removes them.
        ne(clients.kind, 'registered'),
        notExists(itsGrants),
        or(
          and(isNull(clients.usedAt), lt(clients.createdAt, now - CLIENT_NEVER_USED_MS)),
          lt(clients.usedAt, now - CLIENT_UNUSED_MS),
        ),
      ),
    )
    .run();
  tx.delete(auditEvents)
    .where(
      or(
        lt(auditEvents.at, now - AUDIT_MEMORY_MS),
        and(ofStrangers, lt(auditEvents.at, now - STRANGERS_MEMORY_MS)),
      ),
    )
    .run();
  return deadTokens.changes + deadCodes.changes + deadGrants.changes + deadClients.changes;
}
