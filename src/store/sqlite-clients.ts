/** Clients in SQLite: how they come in, and how they are read. */
import { and, asc, eq, isNull, lt, sql } from 'drizzle-orm';
import type { Client } from '../oauth/clients.js';
import type { UnusedClients } from '../oauth/ports.js';
import type { Sqlite } from './sqlite.js';
import { clients } from './sqlite.schema.js';

type Transaction = Parameters<Parameters<Sqlite['transaction']>[0]>[0];

const neverUsed = and(eq(clients.kind, 'dynamic'), isNull(clients.usedAt));

export function addClient(
  tx: Transaction,
  { pinned: _pinned, ...client }: Client,
  { most, spareMs }: UnusedClients,
): void {
  tx.insert(clients).values(client).run();
  const oneTooMany = tx.select({ one: sql`1` }).from(clients).where(neverUsed).limit(1).offset(most).get();
  if (oneTooMany === undefined) return;
  const oldest = tx
    .select({ id: clients.id })
    .from(clients)
    .where(and(neverUsed, lt(clients.createdAt, client.createdAt - spareMs)))
    .orderBy(asc(clients.createdAt))
    .limit(1)
    .get();
  if (oldest !== undefined) tx.delete(clients).where(eq(clients.id, oldest.id)).run();
}

/** A client as the rest of the house knows it: absent members are undefined, not null. */
export function toClient({ usedAt: _usedAt, ...row }: typeof clients.$inferSelect): Client {
  return {
    ...row,
    secretHash: row.secretHash ?? undefined,
    jwksUri: row.jwksUri ?? undefined,
    uri: row.uri ?? undefined,
  };
}
