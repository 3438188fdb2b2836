/** `fjmcp-broker users`: who has signed in here, and signing somebody out everywhere. */
import type { UserView } from '../oauth/admin.js';
import { auditEnded, type Noun, oneUser, verb } from './desk.js';
import { card, clean, plural, type Report, table } from './report.js';

const USAGE = `usage: fjmcp-broker users <command> [--json]

  list                everybody who ever signed in
  show LOGIN|ID       one user
  revoke LOGIN|ID     end all grants of a user and forget the credential
`;

const list = verb({}, () => async ({ store }): Promise<Report> => {
  const users = await store.listUsers();
  return {
    data: users,
    text: table(
      ['ID', 'LOGIN', 'AT', 'SIGNED IN', 'GRANTS'],
      users.map((user) => [user.id, user.login, user.issuer, signedIn(user), String(user.grants)]),
      'There is no user.',
    ),
  };
});

const show = verb({ argument: 'LOGIN or ID' }, ({ argument }) => async (desk): Promise<Report> => {
  const user = await oneUser(desk, argument);
  return {
    data: user,
    text: card([
      ['id', user.id],
      ['login', user.login],
      ['account', `number ${user.subject} at ${user.issuer}`],
      ['signed in', signedIn(user)],
      ['grants', String(user.grants)],
    ]),
  };
});

const revoke = verb({ argument: 'LOGIN or ID' }, ({ argument }) => async (desk): Promise<Report> => {
  const { id, login } = await oneUser(desk, argument);
  const ended = await desk.store.revokeUserGrants(id);
  const event = await desk.audit('user.revoked', { user: id, reason: 'operator' });
  await auditEnded(desk, ended);
  return {
    data: { user: id, login, grants: ended.map((grant) => grant.id), audit: event },
    text: `Signed out ${clean(login)} (${id}) and ended ${plural(ended.length, 'grant')}. Audit: ${event}\n`,
  };
});

export const users: Noun = { usage: USAGE, verbs: { list, show, revoke } };

function signedIn({ credential }: UserView): string {
  return credential === 'alive' ? 'yes' : 'no';
}
