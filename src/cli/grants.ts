/** `fjmcp-broker grants`: which user let which client in, and the end of that. */
import type { GrantView } from '../oauth/admin.js';
import { auditEnded, type Noun, oneUser, present, verb } from './desk.js';
import { card, clean, type Report, table, time, timeOr } from './report.js';

const USAGE = `usage: fjmcp-broker grants <command> [--json]

  list [--user LOGIN|ID] [--client ID]
                  all grants, newest first
  show ID         one grant
  revoke ID       end a grant: its tokens at once, its open sessions within a minute
`;

const list = verb({ once: ['user', 'client'] }, ({ option }) => async (desk): Promise<Report> => {
  const [user, client] = [option('user'), option('client')];
  if (client !== undefined) present(await desk.store.findClient(client), `client "${clean(client)}"`);
  const grants = await desk.store.listGrants({
    user: user === undefined ? undefined : (await oneUser(desk, user)).id,
    client,
  });
  return {
    data: grants.map(toData),
    text: table(
      ['ID', 'USER', 'CLIENT', 'RESOURCE', 'MADE', 'ENDS'],
      grants.map((grant) => [
        grant.id,
        grant.login,
        grant.clientName,
        grant.resource,
        time(grant.createdAt),
        timeOr(grant.expiresAt, 'not begun'),
      ]),
      'There is no grant.',
    ),
  };
});

const show = verb({ argument: 'ID' }, ({ argument }) => async ({ store }): Promise<Report> => {
  const grant = present(await store.findGrant(argument), `grant "${clean(argument)}"`);
  return {
    data: toData(grant),
    text: card([
      ['id', grant.id],
      ['user', `${grant.login} (${grant.userId})`],
      ['client', `${grant.clientName} (${grant.clientId})`],
      ['resource', grant.resource],
      ['scope', grant.scope],
      ['made', time(grant.createdAt)],
      ['ends, unless refreshed', timeOr(grant.expiresAt, 'not begun')],
    ]),
  };
});

const revoke = verb({ argument: 'ID' }, ({ argument }) => async (desk): Promise<Report> => {
  const what = `grant "${clean(argument)}"`;
  const { id, login, clientName } = present(await desk.store.findGrant(argument), what);
  const ended = present(await desk.store.revokeGrant(id), what);
  const [event] = await auditEnded(desk, [ended]);
  return {
    data: { grant: id, audit: event },
    text: `Ended grant ${id} (${clean(login)}, ${clean(clientName)}). Audit: ${event}\n`,
  };
});

export const grants: Noun = { usage: USAGE, verbs: { list, show, revoke } };

function toData(grant: GrantView) {
  return {
    id: grant.id,
    user: grant.userId,
    login: grant.login,
    client: grant.clientId,
    clientName: grant.clientName,
    resource: grant.resource,
    scope: grant.scope,
    createdAt: time(grant.createdAt),
    expiresAt: timeOr(grant.expiresAt, null),
  };
}
