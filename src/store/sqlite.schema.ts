/** The tables. Times are integer milliseconds; secrets are hex SHA-256 or ciphertext; nothing here is readable plaintext. */
import { blob, index, integer, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core';
import type { Era } from '../backend/eras.js';
import type { ClientId, GrantId, SessionId, Sha256, UserId } from '../base/ids.js';
import type { AuditId, AuditKind } from '../oauth/audit.js';
import type { AuthMethod, ClientKind, GrantType } from '../oauth/clients.js';

export const clients = sqliteTable(
  'clients',
  {
    id: text().$type<ClientId>().primaryKey(),
    kind: text().$type<ClientKind>().notNull().default('dynamic'),
    name: text().notNull(),
    redirectUris: text('redirect_uris', { mode: 'json' }).$type<readonly string[]>().notNull(),
    authMethod: text('auth_method').$type<AuthMethod>().notNull(),
    secretHash: text('secret_hash').$type<Sha256>(),
    jwksUri: text('jwks_uri'),
    grantTypes: text('grant_types', { mode: 'json' }).$type<readonly GrantType[]>().notNull(),
    uri: text(),
    createdAt: integer('created_at').notNull(),
    /** Last time a grant of this client was made or refreshed; null until the first. */
    usedAt: integer('used_at'),
  },
  (table) => [index('clients_unused').on(table.kind, table.usedAt, table.createdAt)],
);

export const users = sqliteTable(
  'users',
  {
    id: text().$type<UserId>().primaryKey(),
    issuer: text().notNull(),
    subject: text().notNull(),
    login: text().notNull(),
  },
  (table) => [uniqueIndex('users_identity').on(table.issuer, table.subject)],
);

/** One per user: a new login at Forgejo kills the refresh token of the one before. */
export const credentials = sqliteTable('credentials', {
  userId: text('user_id')
    .$type<UserId>()
    .primaryKey()
    .references(() => users.id, { onDelete: 'cascade' }),
  sealed: blob({ mode: 'buffer' }).notNull(),
  keyId: text('key_id').notNull(),
  expiresAt: integer('expires_at').notNull(),
  issuedAt: integer('issued_at').notNull().default(0),
  version: integer().notNull(),
  state: text().$type<'alive' | 'dead'>().notNull(),
});

export const grants = sqliteTable(
  'grants',
  {
    id: text().$type<GrantId>().primaryKey(),
    userId: text('user_id')
      .$type<UserId>()
      .notNull()
      .references(() => users.id, { onDelete: 'cascade' }),
    clientId: text('client_id')
      .$type<ClientId>()
      .notNull()
      .references(() => clients.id, { onDelete: 'cascade' }),
    resource: text().notNull(),
    scope: text().notNull(),
    createdAt: integer('created_at').notNull(),
  },
  (table) => [index('grants_user').on(table.userId), index('grants_client').on(table.clientId)],
);

export const authorizationCodes = sqliteTable(
  'authorization_codes',
  {
    hash: text().$type<Sha256>().primaryKey(),
    grantId: text('grant_id')
      .$type<GrantId>()
      .notNull()
      .references(() => grants.id, { onDelete: 'cascade' }),
    redirectUri: text('redirect_uri').notNull(),
    codeChallenge: text('code_challenge').notNull(),
    expiresAt: integer('expires_at').notNull(),
    redeemedAt: integer('redeemed_at'),
  },
  (table) => [index('authorization_codes_grant').on(table.grantId)],
);

export const tokens = sqliteTable(
  'tokens',
  {
    hash: text().$type<Sha256>().primaryKey(),
    kind: text().$type<'access' | 'refresh'>().notNull(),
    grantId: text('grant_id')
      .$type<GrantId>()
      .notNull()
      .references(() => grants.id, { onDelete: 'cascade' }),
    expiresAt: integer('expires_at').notNull(),
    /** The refresh token that this one replaced. */
    predecessor: text().$type<Sha256>(),
    /** First time this refresh token was replaced, and how often since. */
    rotatedAt: integer('rotated_at'),
    rotations: integer().notNull().default(0),
    /** First time a successor of this refresh token was used: proof that the client has it. */
    successorUsedAt: integer('successor_used_at'),
  },
  (table) => [index('tokens_grant').on(table.grantId), index('tokens_expiry').on(table.expiresAt)],
);

/** MCP conversations. What runs for one of them right now is known to the process that runs it. */
export const sessions = sqliteTable(
  'sessions',
  {
    id: text().$type<SessionId>().primaryKey(),
    userId: text('user_id').$type<UserId>().notNull(),
    grantId: text('grant_id')
      .$type<GrantId>()
      .notNull()
      .references(() => grants.id, { onDelete: 'cascade' }),
    server: text().notNull(),
    initialize: blob({ mode: 'buffer' }).notNull(),
    logLevel: text('log_level'),
    subscriptions: text({ mode: 'json' }).$type<readonly string[]>().notNull(),
    seenAt: integer('seen_at').notNull(),
  },
  (table) => [
    index('sessions_grant').on(table.grantId),
    index('sessions_user').on(table.userId, table.seenAt),
    index('sessions_seen').on(table.seenAt),
  ],
);

/** Which era each configured server was found to speak. */
export const serverEras = sqliteTable('server_eras', {
  server: text().primaryKey(),
  /** Hash of what was judged. */
  key: text().notNull(),
  era: text().$type<Era>().notNull(),
  discover: blob({ mode: 'buffer' }),
  judgedAt: integer('judged_at').notNull(),
});

/** Outlives what it speaks of, so it refers to nothing. */
export const auditEvents = sqliteTable(
  'audit_events',
  {
    id: text().$type<AuditId>().primaryKey(),
    kind: text().$type<AuditKind>().notNull(),
    at: integer().notNull(),
    user: text('user_id').$type<UserId>(),
    client: text('client_id'),
    grant: text('grant_id').$type<GrantId>(),
    reason: text(),
  },
  (table) => [index('audit_events_at').on(table.at)],
);
