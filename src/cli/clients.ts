/** `fjmcp-broker clients`: who may ask for a sign-in, and the operator's own clients. */
import { type ClientView, registerOperatorClient } from '../oauth/admin.js';
import { isFault } from '../oauth/fault.js';
import { refusalOfRedirectUri } from '../oauth/redirect-uris.js';
import { auditEnded, type Noun, present, verb } from './desk.js';
import { CommandProblem, UsageProblem } from './problems.js';
import { card, clean, plural, type Report, table, time, timeOr } from './report.js';

const USAGE = `usage: fjmcp-broker clients <command> [--json]

  list            all clients, newest first
  show ID         one client
  add --name N --redirect-uri URI [--redirect-uri URI ...] [--public]
                  make a client; its secret is shown this once. --public: it has none
  revoke ID       remove a client and end its grants
`;

const list = verb({}, () => async ({ store }): Promise<Report> => {
  const clients = await store.listClients();
  return {
    data: clients.map(toData),
    text: table(
      ['ID', 'KIND', 'NAME', 'AUTH', 'GRANTS', 'CREATED', 'USED'],
      clients.map((client) => [
        client.id,
        client.kind,
        client.name,
        client.authMethod,
        String(client.grants),
        time(client.createdAt),
        timeOr(client.usedAt, 'never'),
      ]),
      'There is no client.',
    ),
  };
});

const show = verb({ argument: 'ID' }, ({ argument }) => async ({ store }): Promise<Report> => {
  const client = present(await store.findClient(argument), `client "${clean(argument)}"`);
  return { data: toData(client), text: card(toFields(client)) };
});

const add = verb(
  { once: ['name'], repeated: ['redirect-uri'], flags: ['public'] },
  ({ option, all, has }) => {
    const name = option('name')?.trim() ?? '';
    const redirectUris = all('redirect-uri');
    if (name === '') throw new UsageProblem('--name is missing');
    if (redirectUris.length === 0) throw new UsageProblem('--redirect-uri is missing');
    for (const uri of redirectUris) {
      const refusal = refusalOfRedirectUri(uri);
      if (refusal !== undefined) throw new UsageProblem(`--redirect-uri ${clean(uri)}: ${refusal}`);
    }
    return async ({ store, audit, now, random }): Promise<Report> => {
      const asked = { name, redirectUris, confidential: !has('public') };
      const registration = registerOperatorClient(asked, now(), random);
      if (isFault(registration)) throw new CommandProblem(registration.detail);
      const { client, secret } = registration;
      await store.addClient(client);
      const event = await audit('client.registered', { client: client.id, reason: 'operator' });
      const view: ClientView = { ...client, usedAt: null, grants: 0 };
      const fields = toFields(view);
      if (secret === undefined) return { data: { ...toData(view), audit: event }, text: card(fields) };
      return {
        data: { ...toData(view), secret, audit: event },
        text: `${card([...fields, ['secret', secret]])}\nThe secret is not kept and cannot be shown again.\n`,
      };
    };
  },
);

const revoke = verb({ argument: 'ID' }, ({ argument }) => async (desk): Promise<Report> => {
  const { store, audit } = desk;
  const what = `client "${clean(argument)}"`;
  const { id, name } = present(await store.findClient(argument), what);
  const ended = present(await store.removeClient(id), what);
  const event = await audit('client.removed', { client: id, reason: 'operator' });
  await auditEnded(desk, ended);
  return {
    data: { client: id, grants: ended.map((grant) => grant.id), audit: event },
    text: `Removed client ${id} (${clean(name)}) and ended ${plural(ended.length, 'grant')}. Audit: ${event}\n`,
  };
});

export const clients: Noun = { usage: USAGE, verbs: { list, show, add, revoke } };

function toData(client: ClientView) {
  return {
    id: client.id,
    kind: client.kind,
    name: client.name,
    redirectUris: client.redirectUris,
    authMethod: client.authMethod,
    grants: client.grants,
    createdAt: time(client.createdAt),
    usedAt: timeOr(client.usedAt, null),
  };
}

function toFields(client: ClientView): [string, string][] {
  return [
    ['id', client.id],
    ['kind', client.kind],
    ['name', client.name],
    ...client.redirectUris.map((uri): [string, string] => ['redirect uri', uri]),
    ['auth method', client.authMethod],
    ['grants', String(client.grants)],
    ['created', time(client.createdAt)],
    ['used', timeOr(client.usedAt, 'never')],
  ];
}
