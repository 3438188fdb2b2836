/** The OAuth endpoints on the wire: what they read, their statuses and content types. The decisions are made elsewhere. */
import { type Context, Hono } from 'hono';
import { authorize, decideGrant } from './authorize.js';
import { parseBasic } from './basic.js';
import { authenticate, type Credential } from './credentials.js';
import type { Instance } from './instance.js';
import { barredPage, consentPage, errorPage, grantErrorPage } from './pages.js';
import { barOf, type User } from './rows.js';
import { exchange } from './token-endpoint.js';
import { avatarOf, groupsOf, readUnexpired } from './tokens.js';
import {
  answerJson,
  answerText,
  type Fields,
  readFields,
  requireUser,
  seeOther,
  type WebEnv,
  withSession,
} from './web.js';

const WRONG_CREDENTIALS =
  'Credentials are incorrect or have expired. Retry your command or see https://codeberg.org/forgejo/forgejo/issues/2809 for more information';

const CLAIMS =
  'aud exp iat iss sub name preferred_username profile picture website locale updated_at email email_verified groups';

export function oauthRoutes(instance: Instance): Hono<WebEnv> {
  const routes = new Hono<WebEnv>();
  const browser = [withSession(instance), requireUser(instance)] as const;

  routes.use('/login/oauth/*', async (c, next) =>
    instance.settings.oauthEnabled ? await next() : answerText(c, 403, 'Forbidden'),
  );
  // CORS is off by default, so no preflight is answered.
  for (const name of ['access_token', 'keys', 'introspect', 'userinfo']) {
    routes.options(`/login/oauth/${name}`, (c) => c.body(null, 405));
  }
  routes.options('/.well-known/openid-configuration', (c) => c.body(null, 405));

  routes.on(['GET', 'POST'], '/login/oauth/authorize', ...browser, async (c) => {
    const field = await readFields(c);
    const { session, user } = c.var;
    const answer = authorize(instance, user, session, readAuthorizeRequest(field));
    if ('refuse' in answer) return c.html(grantErrorPage(instance, answer.refuse), 400);
    if ('redirect' in answer) return seeOther(c, answer.redirect);
    const fields = {
      client_id: field('client_id'),
      state: field('state'),
      scope: field('scope'),
      nonce: field('nonce'),
      redirect_uri: field('redirect_uri'),
    };
    return c.html(consentPage(instance, user, answer.consent, fields, session.csrf));
  });

  routes.post('/login/oauth/grant', ...browser, async (c) => {
    const field = await readFields(c);
    const answer = decideGrant(instance, c.var.user, c.var.session, {
      clientId: field('client_id'),
      redirectUri: field('redirect_uri'),
      state: field('state'),
      scope: field('scope'),
      nonce: field('nonce'),
      granted: field('granted') === 'true',
    });
    if (answer === 'not the form last shown') return answerText(c, 400, 'Bad Request');
    if (answer === 'application is gone') return c.html(errorPage(instance, 'Internal Server Error'), 500);
    return seeOther(c, answer.redirect);
  });

  routes.post('/login/oauth/access_token', async (c) => {
    const field = await readFields(c, 'json');
    const request = {
      grantType: field('grant_type'),
      clientId: field('client_id'),
      clientSecret: field('client_secret'),
      redirectUri: field('redirect_uri'),
      code: field('code'),
      codeVerifier: field('code_verifier'),
      refreshToken: field('refresh_token'),
    };
    const answer = exchange(instance, request, c.req.header('authorization'));
    return answerJson(c, answer, 'error' in answer ? 400 : 200);
  });

  routes.on(['GET', 'POST'], '/login/oauth/userinfo', async (c) => {
    const field = await readFields(c);
    const credential = authenticate(instance, {
      authorization: c.req.header('authorization'),
      parameter:
        c.req.query('token') ?? c.req.query('access_token') ?? (field('token') || field('access_token')),
    });
    return answerUserinfo(instance, c, credential);
  });

  routes.post('/login/oauth/introspect', async (c) => {
    const basic = parseBasic(c.req.header('authorization'));
    const application = typeof basic === 'string' ? undefined : instance.application(basic.user);
    if (typeof basic === 'string' || application?.clientSecret !== basic.password) {
      return answerText(c, 401, 'no valid authorization', { 'www-authenticate': 'Basic realm=""' });
    }
    const token = (await readFields(c, 'json'))('token');
    const introspected = introspect(instance, token);
    if (!introspected.active && instance.variant.introspectsOwnCredential) {
      return answerText(c, 401, WRONG_CREDENTIALS);
    }
    return answerJson(c, introspected);
  });

  routes.get('/login/oauth/keys', (c) => c.json({ keys: [instance.key.jwk] }));
  routes.get('/.well-known/openid-configuration', (c) =>
    instance.settings.oauthEnabled ? c.json(discovery(instance)) : c.body(null, 404),
  );
  return routes;
}

function readAuthorizeRequest(field: Fields) {
  return {
    clientId: field('client_id'),
    redirectUri: field('redirect_uri'),
    responseType: field('response_type'),
    state: field('state'),
    scope: field('scope'),
    nonce: field('nonce'),
    codeChallenge: field('code_challenge'),
    codeChallengeMethod: field('code_challenge_method'),
  };
}

function answerUserinfo(
  instance: Instance,
  c: Context,
  credential: Credential,
): Response | Promise<Response> {
  const { userinfoForAccessToken, userinfoForBarred } = instance.variant;
  const unauthorized = () =>
    answerText(c, 401, 'no valid authorization', { 'www-authenticate': 'Bearer realm=""' });
  switch (credential.kind) {
    case 'anonymous':
    case 'password':
      return unauthorized();
    case 'invalid':
      return answerText(c, 401, WRONG_CREDENTIALS);
    case 'personal':
      if (userinfoForAccessToken === 'no valid authorization') return unauthorized();
      if (userinfoForAccessToken === 'credentials are incorrect') {
        return answerText(c, 401, WRONG_CREDENTIALS);
      }
  }
  const { user } = credential;
  const bar = barOf(user);
  if (bar !== undefined && userinfoForBarred === 'html') return c.html(barredPage(instance, bar));
  return answerJson(c, userinfo(instance, user));
}

function userinfo(instance: Instance, user: User): object {
  return {
    sub: String(user.id),
    name: user.fullName || user.login,
    preferred_username: user.login,
    email: user.email,
    picture: avatarOf(instance, user),
    ...(user.organizations.length > 0 ? { groups: groupsOf(user) } : {}),
  };
}

interface Introspection {
  readonly active: boolean;
  readonly [member: string]: unknown;
}

/** Active means: signed here, not expired, its grant is there. A used refresh token and a barred user's token are active. */
function introspect(instance: Instance, token: string): Introspection {
  const read = readUnexpired(instance, token);
  const grant = 'problem' in read ? undefined : instance.grants.get(read.claims.gnt);
  const application = grant && instance.applications.get(grant.applicationId);
  const user = grant && instance.users.get(grant.userId);
  if (grant === undefined || application === undefined || user === undefined) return { active: false };
  return {
    active: true,
    scope: grant.scope,
    username: user.login,
    iss: instance.issuer,
    sub: String(user.id),
    aud: [application.clientId],
  };
}

/** No API scopes, no revocation, registration or end-session endpoint: discovery tells less than the server does. */
function discovery(instance: Instance): object {
  return {
    issuer: instance.issuer,
    authorization_endpoint: `${instance.url}/login/oauth/authorize`,
    token_endpoint: `${instance.url}/login/oauth/access_token`,
    jwks_uri: `${instance.url}/login/oauth/keys`,
    userinfo_endpoint: `${instance.url}/login/oauth/userinfo`,
    introspection_endpoint: `${instance.url}/login/oauth/introspect`,
    response_types_supported: ['code', 'id_token'],
    id_token_signing_alg_values_supported: ['RS256'],
    subject_types_supported: ['public'],
    scopes_supported: ['openid', 'profile', 'email', 'groups'],
    claims_supported: CLAIMS.split(' '),
    code_challenge_methods_supported: ['plain', 'S256'],
    grant_types_supported: ['authorization_code', 'refresh_token'],
  };
}
