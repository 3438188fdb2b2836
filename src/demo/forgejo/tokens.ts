/** Making and reading the tokens of a grant: lifetimes, the counter in a refresh token, and the id token. */
import { SECOND } from '../../base/clock.js';
import type { Instance } from './instance.js';
import { EXPIRED, type ReadToken } from './jwt.js';
import type { Application, Grant, User } from './rows.js';
import { hasOpenIdScope } from './scopes.js';

/** In the order of the wire. There is no `scope`, whatever was granted. */
export interface TokenAnswer {
  readonly access_token: string;
  readonly token_type: 'bearer';
  readonly expires_in: number;
  readonly refresh_token: string;
  readonly id_token?: string;
}

/** A new pair, or undefined when an id token is wanted and the user is gone. */
export function issueTokens(
  instance: Instance,
  application: Application,
  grant: Grant,
): TokenAnswer | undefined {
  const { accessTokenSeconds, refreshTokenSeconds } = instance.settings;
  const iat = instance.nowSeconds();
  // Tokens of one second are identical, so one made right after `expireAccessTokens` must outlive the expired ones.
  const exp = Math.max(iat + accessTokenSeconds, grant.expiredUpTo + 1);
  grant.latestExpiry = Math.max(grant.latestExpiry, exp);
  const cnt = grant.counter === 0 ? {} : { cnt: grant.counter };
  const answer: TokenAnswer = {
    access_token: instance.key.sign({ gnt: grant.id, tt: 0, exp, iat }),
    token_type: 'bearer',
    expires_in: accessTokenSeconds,
    refresh_token: instance.key.sign({ gnt: grant.id, tt: 1, ...cnt, exp: iat + refreshTokenSeconds, iat }),
  };
  if (!hasOpenIdScope(grant.scope, 'openid')) return answer;
  const user = instance.users.get(grant.userId);
  if (user === undefined) return undefined;
  return { ...answer, id_token: instance.key.sign(idClaims(instance, application, grant, user, exp, iat)) };
}

export function readUnexpired(instance: Instance, token: string): ReadToken {
  const read = instance.key.read(token);
  if ('problem' in read) return read;
  const { gnt, tt, exp } = read.claims;
  const isCutShort = tt === 0 && exp <= (instance.grants.get(gnt)?.expiredUpTo ?? 0);
  return isCutShort || exp * SECOND <= instance.now() ? { problem: EXPIRED } : read;
}

/** `org` and `org:team`, as userinfo and the id token list them. */
export function groupsOf(user: User): string[] {
  return user.organizations.flatMap((organization) => [organization, `${organization}:owners`]);
}

function idClaims(
  instance: Instance,
  application: Application,
  grant: Grant,
  user: User,
  exp: number,
  iat: number,
): object {
  const has = (scope: string) => hasOpenIdScope(grant.scope, scope);
  return {
    iss: instance.issuer,
    sub: String(user.id),
    aud: [application.clientId],
    exp,
    iat,
    ...(grant.nonce === '' ? {} : { nonce: grant.nonce }),
    ...(has('profile') ? profileClaims(instance, user) : {}),
    ...(has('email')
      ? { email: user.email, ...(user.status === 'unactivated' ? {} : { email_verified: true }) }
      : {}),
    ...(has('groups') && user.organizations.length > 0 ? { groups: groupsOf(user) } : {}),
  };
}

function profileClaims(instance: Instance, user: User): object {
  return {
    name: user.fullName || user.login,
    preferred_username: user.login,
    profile: `${instance.url}/${user.login}`,
    picture: avatarOf(instance, user),
    website: '',
    locale: '',
    updated_at: Math.floor(user.created / SECOND),
  };
}

export function avatarOf(instance: Instance, user: User): string {
  return `${instance.url}/avatars/${user.id}`;
}
