/** The part of `/api/v1` the demo and the tests need, with Forgejo's order of refusals: credential, account, login, scope. */
import { type Context, Hono, type MiddlewareHandler } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import {
  asApplication,
  asIssue,
  asOrganization,
  asPersonalToken,
  asRepository,
  asUser,
} from './api-views.js';
import { authenticate, type Identity } from './credentials.js';
import { isApiScope, permits, type RequiredScope } from './scopes.js';
import type { AccountStatus, Application, Instance, Repository } from './state.js';
import { answerJson } from './web.js';

interface ApiEnv {
  Variables: { identity: Identity | undefined };
}

const NOT_FOUND = "The target couldn't be found.";

export function apiRoutes(instance: Instance): Hono<ApiEnv> {
  const api = new Hono<ApiEnv>();
  const needs = (...scopes: RequiredScope[]) => requireScopes(instance, scopes);

  api.use(apiHeaders, identify(instance));
  api.get('/version', (c) => answerJson(c, { version: instance.settings.version }));

  api.get('/user', needs('read:user'), (c) => {
    const { user } = known(c);
    return answerJson(c, asUser(instance, user));
  });
  api.get('/user/orgs', needs('read:user', 'read:organization'), (c) =>
    answerJson(c, known(c).user.organizations.map(asOrganization)),
  );
  api.get('/user/repos', needs('read:user', 'read:repository'), (c) => {
    const identity = known(c);
    const own = instance.repositories.filter(({ ownerId }) => ownerId === identity.user.id);
    const listed = own.filter((repository) => access(instance, repository, identity) === 'open');
    return answerJson(
      c,
      listed.map((repository) => asRepository(instance, repository)),
    );
  });

  api.get('/repos/:owner/:repo', needs('read:repository'), (c) =>
    withRepository(instance, c, (repository) => answerJson(c, asRepository(instance, repository))),
  );
  api.get('/repos/:owner/:repo/issues', needs('read:issue'), (c) =>
    withRepository(instance, c, (repository) =>
      answerJson(c, repository.issues.map((issue) => asIssue(instance, repository, issue)).reverse()),
    ),
  );
  api.post('/repos/:owner/:repo/issues', needs('write:issue'), (c) =>
    withRepository(instance, c, async (repository) => {
      const { title, body } = await readJson(c);
      if (typeof title !== 'string' || title.trim() === '')
        return refuse(instance, c, 422, '[Title]: Required');
      const text = typeof body === 'string' ? body : '';
      const issue = instance.addIssue(repository, known(c).user, title, text);
      return answerJson(c, asIssue(instance, repository, issue), 201);
    }),
  );

  api.route('/user/applications/oauth2', applicationRoutes(instance));
  api.route('/users/:login/tokens', personalTokenRoutes(instance));
  api.all('*', (c) => refuse(instance, c, 404, NOT_FOUND));
  return api;
}

function applicationRoutes(instance: Instance): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  const read = requireScopes(instance, ['read:user']);
  const write = requireScopes(instance, ['write:user']);
  const owned = (c: Context<ApiEnv>): Application | undefined => {
    const application = instance.applications.get(Number(c.req.param('id')));
    return application?.ownerId === known(c).user.id ? application : undefined;
  };

  routes.post('/', write, async (c) => {
    const fields = readApplication(await readJson(c));
    if (fields === undefined) return refuse(instance, c, 422, '[Name]: Required');
    const application = instance.addApplication({ ...fields, ownerId: known(c).user.id });
    return answerJson(c, asApplication(application, application.clientSecret), 201);
  });
  routes.get('/', read, (c) => {
    const own = [...instance.applications.values()].filter(({ ownerId }) => ownerId === known(c).user.id);
    return answerJson(
      c,
      own.map((application) => asApplication(application, '')),
    );
  });
  routes.get('/:id', read, (c) => {
    const application = owned(c);
    if (application === undefined) return refuse(instance, c, 404, NOT_FOUND);
    return answerJson(c, asApplication(application, ''));
  });
  // Every change regenerates the secret.
  routes.patch('/:id', write, async (c) => {
    const application = owned(c);
    if (application === undefined) return refuse(instance, c, 404, NOT_FOUND);
    const fields = readApplication(await readJson(c));
    if (fields === undefined) return refuse(instance, c, 422, '[Name]: Required');
    Object.assign(application, fields);
    return answerJson(c, asApplication(application, instance.regenerateSecret(application)));
  });
  routes.delete('/:id', write, (c) => {
    const application = owned(c);
    if (application === undefined) return refuse(instance, c, 404, NOT_FOUND);
    instance.removeApplication(application.id);
    return c.body(null, 204);
  });
  return routes;
}

/** A user's own access tokens: reading the list takes a token, making one takes the password. */
function personalTokenRoutes(instance: Instance): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  const isOwn = (c: Context<ApiEnv>) => instance.userByLogin(c.req.param('login') ?? '') === known(c).user;

  routes.get('/', requireScopes(instance, ['read:user']), (c) => {
    if (!isOwn(c)) return refuse(instance, c, 404, NOT_FOUND);
    const tokens = [...instance.personalTokens.values()].filter(({ userId }) => userId === known(c).user.id);
    return answerJson(
      c,
      tokens.map((token) => asPersonalToken(token, '')),
    );
  });
  routes.post('/', requireScopes(instance, ['write:user']), async (c) => {
    if (known(c).kind !== 'password') return refuse(instance, c, 401, 'auth method not allowed');
    if (!isOwn(c)) return refuse(instance, c, 404, NOT_FOUND);
    const { name, scopes } = await readJson(c);
    const asked = Array.isArray(scopes) ? scopes.map(String).filter(isApiScope) : [];
    if (asked.length === 0) return refuse(instance, c, 400, 'access token must have a scope');
    const token = instance.addPersonalToken({
      userId: known(c).user.id,
      name: String(name ?? ''),
      scopes: new Set(asked),
      repositories: undefined,
    });
    return answerJson(c, asPersonalToken(token, token.token), 201);
  });
  return routes;
}

const apiHeaders: MiddlewareHandler = async (c, next) => {
  await next();
  c.res.headers.set('x-content-type-options', 'nosniff');
};

/** A credential that fails is refused on every route, `/version` too. */
function identify(instance: Instance): MiddlewareHandler<ApiEnv> {
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
function requireScopes(instance: Instance, scopes: readonly RequiredScope[]): MiddlewareHandler<ApiEnv> {
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

function access(
  instance: Instance,
  repository: Repository,
  identity: Identity | undefined,
): 'open' | 'hidden' | 'public only' {
  if (repository.private && repository.ownerId !== identity?.user.id) return 'hidden';
  if (repository.private && identity?.scopes.has('public-only')) return 'public only';
  const only = identity?.kind === 'personal' ? identity.repositories : undefined;
  const fullName = asRepository(instance, repository).full_name;
  return only === undefined || only.includes(fullName) ? 'open' : 'hidden';
}

function withRepository(
  instance: Instance,
  c: Context<ApiEnv>,
  answer: (repository: Repository) => Response | Promise<Response>,
): Response | Promise<Response> {
  const repository = instance.repository(c.req.param('owner') ?? '', c.req.param('repo') ?? '');
  const found = repository === undefined ? 'hidden' : access(instance, repository, c.var.identity);
  if (found === 'public only') return refuse(instance, c, 403, 'token scope is limited to public repos');
  if (repository === undefined || found === 'hidden') return refuse(instance, c, 404, NOT_FOUND);
  return answer(repository);
}

/** The caller of a route behind `requireScopes` with a scope that no anonymous caller passes. */
function known(c: Context<ApiEnv>): Identity {
  const { identity } = c.var;
  if (identity === undefined) throw new Error(`${c.req.path} is reachable without a login`);
  return identity;
}

function refuse(instance: Instance, c: Context, status: ContentfulStatusCode, message: string): Response {
  const errors = status === 404 ? { errors: [] } : {};
  return answerJson(c, { ...errors, message, url: `${instance.url}/api/swagger` }, status);
}

async function readJson(c: Context): Promise<Readonly<Record<string, unknown>>> {
  try {
    const body: unknown = await c.req.json();
    return typeof body === 'object' && body !== null ? { ...body } : {};
  } catch {
    return {};
  }
}

/** A client is public unless it says otherwise; redirect URIs are taken as they come. */
function readApplication(
  body: Readonly<Record<string, unknown>>,
): Pick<Application, 'name' | 'redirectUris' | 'confidential'> | undefined {
  const { name, redirect_uris: uris, confidential_client: confidential } = body;
  if (typeof name !== 'string' || name === '') return undefined;
  return {
    name,
    redirectUris: Array.isArray(uris) ? uris.map(String) : [],
    confidential: confidential === true,
  };
}
