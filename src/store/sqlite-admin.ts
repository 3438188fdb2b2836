/** The admin port on SQLite, on a connection of its own beside a broker that runs. Columns are named: no hash is read. */
import { and, count, desc, eq, gte, max, type SQL, sql } from 'drizzle-orm';
import type { ClientId, GrantId, UserId } from '../base/ids.js';
import type { AdminStore, AuditFilter, AuditView, ClientView, GrantView, UserView } from '../oauth/admin.js';
import type { AuditEvent } from '../oauth/audit.js';
import type { Client } from '../oauth/clients.js';
import type { Grant } from '../oauth/ports.js';
import { openExistingSqlite, type Sqlite } from './sqlite.js';
import { auditEvents, clients, credentials, grants, tokens, users } from './sqlite.schema.js';
import { endUser } from './sqlite-users.js';

export interface SqliteAdmin extends AdminStore, Disposable {
  /** The living credentials under each key id. */
  countCredentialsByKey(): Promise<ReadonlyMap<string, number>>;
}

/** Opens the store at `path`, which a broker must have made; throws when it cannot be opened. */
export function openSqliteAdmin(path: string): SqliteAdmin {
  const { db, close } = openExistingSqlite(path);
  return {
    listClients: async () => readClients(db),
    findClient: async (id) => readClients(db, eq(clients.id, id as ClientId))[0],

    async addClient({ pinned: _pinned, ...client }: Client): Promise<void> {
      db.insert(clients).values(client).run();
    },

    removeClient: async (id) => removeClient(db, id as ClientId),

    listUsers: async () => readUsers(db),

    async findUsers(idOrLogin: string): Promise<readonly UserView[]> {
      const byId = readUsers(db, eq(users.id, idOrLogin as UserId));
      return byId.length > 0 ? byId : readUsers(db, sql`lower(${users.login}) = ${idOrLogin.toLowerCase()}`);
    },

    revokeUserGrants: async (id) => endUser(db, id) ?? [],

    listGrants: async ({ user, client }) =>
      readGrants(
        db,
        and(
          user === undefined ? undefined : eq(grants.userId, user),
          client === undefined ? undefined : eq(grants.clientId, client as ClientId),
        ),
      ),

    findGrant: async (id) => readGrants(db, eq(grants.id, id as GrantId))[0],

    revokeGrant: async (id) => db.delete(grants).where(eq(grants.id, id)).returning().get(),

    async addAuditEvent(event: AuditEvent): Promise<void> {
      db.insert(auditEvents).values(event).run();
    },

    listAudit: async (filter) => readAudit(db, matching(filter), filter.limit),
    findAuditEvent: async (id) => readAudit(db, eq(auditEvents.id, id), 1)[0],

    countCredentialsByKey: async () => countCredentialsByKey(db),

    [Symbol.dispose]: close,
  };
}

export function countCredentialsByKey(db: Sqlite): ReadonlyMap<string, number> {
  const rows = db
    .select({ keyId: credentials.keyId, count: count() })
    .from(credentials)
    .where(eq(credentials.state, 'alive'))
    .groupBy(credentials.keyId)
    .all();
  return new Map(rows.map((row) => [row.keyId, row.count]));
}

function readClients(db: Sqlite, where?: SQL): ClientView[] {
  return db
    .select({
      id: clients.id,
      kind: clients.kind,
      name: clients.name,
      redirectUris: clients.redirectUris,
      authMethod: clients.authMethod,
      createdAt: clients.createdAt,
      usedAt: clients.usedAt,
      grants: count(grants.id),
    })
    .from(clients)
    .leftJoin(grants, eq(grants.clientId, clients.id))
    .where(where)
    .groupBy(clients.id)
    .orderBy(desc(clients.createdAt), clients.id)
    .all();
}

function removeClient(db: Sqlite, id: ClientId): readonly Grant[] | undefined {
  return db.transaction(
    (tx) => {
      const ended = tx.select().from(grants).where(eq(grants.clientId, id)).all();
      const { changes } = tx.delete(clients).where(eq(clients.id, id)).run();
      return changes === 0 ? undefined : ended;
    },
    { behavior: 'immediate' },
  );
}

function readUsers(db: Sqlite, where?: SQL): UserView[] {
  const rows = db
    .select({ user: users, credential: credentials.state, grants: count(grants.id) })
    .from(users)
    .leftJoin(credentials, eq(credentials.userId, users.id))
    .leftJoin(grants, eq(grants.userId, users.id))
    .where(where)
    .groupBy(users.id)
    .orderBy(sql`lower(${users.login})`, users.id)
    .all();
  return rows.map(({ user, ...row }) => ({ ...user, ...row, credential: row.credential ?? 'dead' }));
}

function readGrants(db: Sqlite, where: SQL | undefined): GrantView[] {
  const rows = db
    .select({ grant: grants, login: users.login, clientName: clients.name, expiresAt: max(tokens.expiresAt) })
    .from(grants)
    .innerJoin(users, eq(users.id, grants.userId))
    .innerJoin(clients, eq(clients.id, grants.clientId))
    .leftJoin(tokens, eq(tokens.grantId, grants.id))
    .where(where)
    .groupBy(grants.id)
    .orderBy(desc(grants.createdAt), grants.id)
    .all();
  return rows.map(({ grant, ...row }) => ({ ...grant, ...row }));
}

function matching({ user, client, kind, since }: AuditFilter): SQL | undefined {
  return and(
    user === undefined ? undefined : eq(auditEvents.user, user),
    client === undefined ? undefined : eq(auditEvents.client, client),
    kind === undefined ? undefined : eq(auditEvents.kind, kind),
    since === undefined ? undefined : gte(auditEvents.at, since),
  );
}

function readAudit(db: Sqlite, where: SQL | undefined, limit: number): AuditView[] {
  const rows = db
    .select({ event: auditEvents, login: users.login })
    .from(auditEvents)
    .leftJoin(users, eq(users.id, auditEvents.user))
    .where(where)
    // Events of one millisecond keep the order in which they were written.
    .orderBy(desc(auditEvents.at), desc(sql`${auditEvents}.rowid`))
    .limit(limit)
    .all();
  return rows.map(({ event, login }) => ({
    id: event.id,
    kind: event.kind,
    at: event.at,
    user: event.user ?? undefined,
    client: event.client ?? undefined,
    grant: event.grant ?? undefined,
    reason: event.reason ?? undefined,
    login: login ?? undefined,
  }));
}
