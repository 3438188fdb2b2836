/** What every API route shares: Forgejo's order of refusals (credential, account, login, scope) and its error bodies. */
import type { Context, MiddlewareHandler } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { authenticate, type Identity } from './credentials.js';
import type { Instance } from './instance.js';
import type { AccountStatus } from './rows.js';
import { permits, type RequiredScope } from './scopes.js';
import { answerJson } from './web.js';

export interface ApiEnv {
  Variables: { identity: Identity | undefined };
}

export const NOT_FOUND = "The target couldn't be found.";

export const apiHeaders: MiddlewareHandler = async (c, next) => {
  await next();
  c.res.headers.set('x-content-type-options', 'nosniff');
};

/** A credential that fails is refused on every route, `/version` too. */
export function identify(instance: Instance): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const parameter = c.req.query('token') ?? c.req.query('access_token') ?? '';
    if (parameter !== '') {
      c.header('warning', 'token and access_token API authentication is deprecated');
    }
    const credential = authenticate(instance, { authorization: c.req.header('authorization'), parameter });
    if (credential.kind === 'invalid') return refuse(instance, c, 401, credential.message);
    if (credential.kind === 'anonymous') {
      if (instance.settings.requireSigninView) {
        return answerJson(c, { message: 'Only signed in user is allowed to call APIs.' }, 403);
      }
      c.set('identity', undefined);
    } else {
      const problem = accountProblem(instance, credential.user.status);
      if (problem !== undefined) return answerJson(c, { message: problem }, 403);
      c.set('identity', credential);
    }
    return await next();
  };
}

function accountProblem(instance: Instance, status: AccountStatus): string | undefined {
  switch (status) {
    case 'active':
      return undefined;
    case 'unactivated':
      return 'This account is not activated.';
    case 'prohibited':
      return 'This account is prohibited from signing in, please contact your site administrator.';
    case 'must-change-password':
      return `You must change your password. Change it at: ${instance.url}//user/change_password`;
  }
}

/** Anonymous callers may read public repositories; everything else takes a token. */
export function requireScopes(
  instance: Instance,
  scopes: readonly RequiredScope[],
): MiddlewareHandler<ApiEnv> {
  const openToAnyone = scopes.every((scope) => scope === 'read:repository' || scope === 'read:issue');
  return async (c, next) => {
    const { identity } = c.var;
    if (identity === undefined && !openToAnyone) return refuse(instance, c, 401, 'token is required');
    if (identity !== undefined && !permits(identity.scopes, scopes)) {
      const list = scopes.join(' ');
      return refuse(instance, c, 403, `token does not have at least one of required scope(s): [${list}]`);
    }
    return await next();
  };
}

/** The caller of a route behind `requireScopes` with a scope that no anonymous caller passes. */
export function known(c: Context<ApiEnv>): Identity {
  const { identity } = c.var;
  if (identity === undefined) throw new Error(`${c.req.path} is reachable without a login`);
  return identity;
}

export function refuse(
  instance: Instance,
  c: Context,
  status: ContentfulStatusCode,
  message: string,
): Response {
  const errors = status === 404 ? { errors: [] } : {};
  return answerJson(c, { ...errors, message, url: `${instance.url}/api/swagger` }, status);
}

export async function readJson(c: Context): Promise<Readonly<Record<string, unknown>>> {
  try {
    const body: unknown = await c.req.json();
    return typeof body === 'object' && body !== null ? { ...body } : {};
  } catch {
    return {};
  }
}
