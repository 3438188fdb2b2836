/** The endpoints that clients call directly: register, token, revoke. Form or JSON in, JSON out, never cached. */
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { Clock } from '../base/clock.js';
import { parseJson } from '../base/fetch.js';
import { type GrantId, type Randomness, sha256 } from '../base/ids.js';
import type { Log } from '../base/log.js';
import {
  type Client,
  checkClientAuthentication,
  parseClientCredentials,
  registerClient,
  registrationResponse,
} from '../oauth/clients.js';
import { fault, isFault, type OAuthFault, toWire } from '../oauth/fault.js';
import { type Parameters, parseParameters } from '../oauth/parameters.js';
import type { OAuthStore } from '../oauth/ports.js';
import type { Tokens } from '../oauth/tokens.js';

export interface TokenRoutesDeps {
  readonly store: OAuthStore;
  readonly tokens: Tokens;
  readonly now: Clock;
  readonly random: Randomness;
  readonly log: Log;
  /** Told when a grant was revoked, so that its sessions end with it. */
  readonly onGrantRevoked: (grant: GrantId) => void;
}

const MAX_BODY_BYTES = 64 * 1024;

export function tokenRoutes(deps: TokenRoutesDeps): Hono {
  const { store, tokens, now, random, log } = deps;
  const routes = new Hono();
  const limit = bodyLimit({
    maxSize: MAX_BODY_BYTES,
    onError: (c) => refuse(c, fault('request_malformed', 'the body is too large')),
  });

  const refuse = (c: Context, refused: OAuthFault, client?: Client): Response => {
    const { status, code, description } = toWire(refused);
    log.info('oauth.refused', { path: c.req.path, ...refused, client: client?.id });
    // RFC 6749 §5.2: a client that tried Basic is answered in that scheme.
    if (status === 401 && c.req.header('authorization'))
      c.header('WWW-Authenticate', 'Basic realm="token endpoint"');
    return answer(c, { error: code, error_description: description }, status);
  };

  /** The form, and the client that proved to be the one it names. */
  async function readClient(c: Context): Promise<{ form: Parameters; client: Client } | OAuthFault> {
    const form = await readForm(c);
    if (isFault(form)) return form;
    const claimed = parseClientCredentials(form, c.req.header('authorization'));
    if (isFault(claimed)) return claimed;
    const client = await store.findClient(claimed.id);
    if (client === undefined) return fault('client_unknown');
    return checkClientAuthentication(client, claimed) ?? { form, client };
  }

  routes.on('POST', ['/oauth/register', '/register'], limit, async (c) => {
    const registration = registerClient(parseJson(await c.req.text()), now(), random);
    if (isFault(registration)) return refuse(c, registration);
    await store.addClient(registration.client);
    log.info('client.registered', { client: registration.client.id, name: registration.client.name });
    return answer(c, registrationResponse(registration), 201);
  });

  routes.on('POST', ['/oauth/token', '/token'], limit, async (c) => {
    const request = await readClient(c);
    if (isFault(request)) return refuse(c, request);
    const response = await tokens.exchange(request.client, request.form);
    return isFault(response) ? refuse(c, response, request.client) : answer(c, response, 200);
  });

  // RFC 7009 §2.2: an unknown token is as good as a revoked one.
  routes.on('POST', ['/oauth/revoke', '/revoke'], limit, async (c) => {
    const request = await readClient(c);
    if (isFault(request)) return refuse(c, request);
    const token = request.form.get('token');
    if (token === undefined) return refuse(c, fault('parameter_missing', 'token'), request.client);
    const grant = await store.revokeToken(sha256(token), request.client.id);
    if (grant !== undefined) deps.onGrantRevoked(grant);
    return answer(c, {}, 200);
  });

  return routes;
}

async function readForm(c: Context): Promise<Parameters | OAuthFault> {
  const type = c.req.header('content-type') ?? '';
  if (!/^application\/x-www-form-urlencoded(?:;|$)/i.test(type)) {
    return fault('request_malformed', 'the content type must be application/x-www-form-urlencoded');
  }
  return parseParameters(new URLSearchParams(await c.req.text()));
}

function answer(c: Context, body: object, status: 200 | 201 | 400 | 401): Response {
  c.header('Cache-Control', 'no-store');
  return c.json(body, status);
}
