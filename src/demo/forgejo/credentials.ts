/** Who a request to the API, userinfo or introspection speaks for, and why not: invalid is never taken for anonymous. */
import { parseBasic } from './basic.js';
import type { Instance } from './instance.js';
import { shapeProblem } from './jwt.js';
import type { Grant, User } from './rows.js';
import { ALL_SCOPES, type ApiScopes, apiScopesOf } from './scopes.js';
import { readUnexpired } from './tokens.js';

export type Identity =
  | { readonly kind: 'oauth'; readonly user: User; readonly scopes: ApiScopes }
  | {
      readonly kind: 'personal';
      readonly user: User;
      readonly scopes: ApiScopes;
      readonly repositories: readonly string[] | undefined;
    }
  | { readonly kind: 'password'; readonly user: User; readonly scopes: ApiScopes };

export type Credential =
  | Identity
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'invalid'; readonly message: string };

export interface Presented {
  readonly authorization: string | undefined;
  /** `token` or `access_token` of the query or form: looked at before the header. */
  readonly parameter: string;
}

export function authenticate(instance: Instance, { authorization, parameter }: Presented): Credential {
  if (parameter !== '') return resolveToken(instance, parameter);
  const [scheme = '', token = ''] = (authorization ?? '').split(' ');
  const folded = scheme.toLowerCase();
  const isTokenScheme = instance.variant.foldsTokenScheme ? folded === 'token' : scheme === 'token';
  if (folded === 'bearer' || isTokenScheme) return resolveToken(instance, token);
  const basic = parseBasic(authorization);
  if (basic === 'absent' || basic === 'unreadable') return { kind: 'anonymous' };
  const { user: name, password } = basic;
  if (password === '' || password === 'x-oauth-basic') return resolveToken(instance, name);
  const user = instance.userByPassword(name, password);
  return user === undefined
    ? resolveToken(instance, password)
    : { kind: 'password', user, scopes: ALL_SCOPES };
}

/** The grant of an access token that is good right now, or what Forgejo says is wrong with it. */
export function grantOfAccessToken(
  instance: Instance,
  token: string,
): { readonly grant: Grant; readonly user: User } | { readonly problem: string } {
  const read = readUnexpired(instance, token);
  if ('problem' in read) return read;
  const { gnt, tt, iat } = read.claims;
  if (tt !== 0) return { problem: 'token was not an oauth2 access token' };
  if (iat * 1000 > instance.now()) return { problem: 'token was expired' };
  const grant = instance.grants.get(gnt);
  const user = grant && instance.users.get(grant.userId);
  if (grant === undefined || user === undefined) return { problem: 'oauth2 grant not found or revoked' };
  return { grant, user };
}

function resolveToken(instance: Instance, token: string): Credential {
  const personal = instance.personalTokens.get(token);
  const owner = personal && instance.users.get(personal.userId);
  if (personal !== undefined && owner !== undefined) {
    return { kind: 'personal', user: owner, scopes: personal.scopes, repositories: personal.repositories };
  }
  const found = grantOfAccessToken(instance, token);
  if ('problem' in found) {
    return { kind: 'invalid', message: explain(instance, token, found.problem) };
  }
  return { kind: 'oauth', user: found.user, scopes: apiScopesOf(found.grant.scope) };
}

/** What the 401 body says. From 15 on it repeats the token that was presented. */
function explain(instance: Instance, token: string, problem: string): string {
  const nobody = 'user does not exist [uid: 0, name: ]';
  const unknown = `access token does not exist [sha: ${token}]`;
  switch (instance.variant.badToken) {
    case 'nobody':
      return nobody;
    case 'echoes access tokens':
      return token.includes('.') ? nobody : unknown;
    case 'echoes all': {
      const shape = shapeProblem(token);
      const keyfunc = 'token is unverifiable: error while executing keyfunc';
      // One line a method that was tried: OAuth, access token, two kinds of action token, authorized integration.
      return [
        problem,
        unknown,
        shape ?? `${keyfunc}: unexpected signing method: RS256`,
        `task with token "${token}": resource does not exist`,
        `authorized integration: parse JWT error: ${shape ?? `${keyfunc}: invalid \`iss\` claim: ""`}`,
      ].join('\n');
    }
  }
}
