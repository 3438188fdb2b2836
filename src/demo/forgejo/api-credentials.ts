/** The API by which users manage their OAuth applications and access tokens. */
import { type Context, Hono } from 'hono';
import { type ApiEnv, known, NOT_FOUND, readJson, refuse, requireScopes } from './api-guards.js';
import { asApplication, asPersonalToken } from './api-views.js';
import type { Instance } from './instance.js';
import type { Application } from './rows.js';
import { isApiScope } from './scopes.js';
import { answerJson } from './web.js';

export function applicationRoutes(instance: Instance): Hono<ApiEnv> {
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
export function personalTokenRoutes(instance: Instance): Hono<ApiEnv> {
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
