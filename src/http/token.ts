/** The endpoints that clients call directly: register, token, revoke. Form or JSON in, JSON out, never cached. */
import type { BlockList } from 'node:net';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { Clock } from '../base/clock.js';
import { parseJson } from '../base/fetch.js';
import { type GrantId, type Randomness, sha256 } from '../base/ids.js';
import type { Log } from '../base/log.js';
import type { Metrics } from '../base/metrics.js';
import type { Audit } from '../oauth/audit.js';
import type { Authenticated, ClientRegistry } from '../oauth/client-registry.js';
import { parseClientCredentials, registerClient, registrationResponse } from '../oauth/clients.js';
import { fault, isFault, type OAuthFault, toWire } from '../oauth/fault.js';
import { type Parameters, parseParameters } from '../oauth/parameters.js';
import type { OAuthStore } from '../oauth/ports.js';
import type { Tokens } from '../oauth/tokens.js';
import {
  CLIENT_LIMIT,
  callerNetwork,
  createBudget,
  createLimitLog,
  RETRY_SECONDS,
  tooManyRequests,
} from './rate-limits.js';
import { countTokenRequests } from './request-metrics.js';

export interface TokenRoutesDeps {
  readonly store: OAuthStore;
  readonly clients: ClientRegistry;
  readonly tokens: Tokens;
  readonly audit: Audit;
  readonly metrics: Metrics;
  readonly trustedProxies: BlockList;
  readonly now: Clock;
  readonly random: Randomness;
  readonly log: Log;
  /** Told when a grant was revoked, so that its sessions end with it. */
  readonly onGrantRevoked: (grant: GrantId) => void;
}

interface ClientRequest extends Authenticated {
  readonly form: Parameters;
}

const MAX_BODY_BYTES = 64 * 1024;
/** A registration is kept for months. */
const MAX_REGISTRATION_BYTES = 16 * 1024;

export function tokenRoutes(deps: TokenRoutesDeps): Hono {
  const { store, clients, tokens, now, random, audit } = deps;
  const routes = new Hono();
  const tellLimited = createLimitLog(deps);
  const count = countTokenRequests(deps.metrics);
  const limitTo = (maxSize: number) =>
    bodyLimit({ maxSize, onError: (c) => refuse(c, fault('request_malformed', 'the body is too large')) });
  const limit = limitTo(MAX_BODY_BYTES);

  const refuse = async (c: Context, refused: OAuthFault, client?: string): Promise<Response> => {
    const { status, code, description } = toWire(refused);
    const kind = c.req.path.endsWith('/register') ? 'client.refused' : 'token.refused';
    await audit(kind, {
      // Without the detail where it is the caller's own text.
      reason: refused.reason === 'parameter_repeated' ? refused.reason : reasonOf(refused),
      client,
    });
    // RFC 6749 §5.2: a client that tried Basic is answered in that scheme.
    if (status === 401 && c.req.header('authorization'))
      c.header('WWW-Authenticate', 'Basic realm="token endpoint"');
    if (status === 503) c.header('Retry-After', String(RETRY_SECONDS));
    return answer(c, { error: code, error_description: description }, status);
  };

  /** The form, and the client that proved to be the one it names; or their refusal. */
  async function readClient(c: Context): Promise<ClientRequest | Response> {
    const form = await readForm(c);
    if (isFault(form)) return refuse(c, form);
    const request = await authenticate(c, form);
    return isFault(request) ? refuse(c, request, claimedId(c, form)) : request;
  }

  async function authenticate(c: Context, form: Parameters): Promise<ClientRequest | OAuthFault> {
    const network = callerNetwork(c, deps.trustedProxies);
    const authenticated = await clients.authenticate(form, c.req.header('authorization'), network);
    return isFault(authenticated) ? authenticated : { ...authenticated, form };
  }

  const take = createBudget(CLIENT_LIMIT);
  /**
   * Counted is a client that proved itself; otherwise the grant behind its token, so that nobody who only knows the client's
   * name can use up its minute. So too where the client is a document, which all its installations share. Made-up tokens
   * have no grant: they count for their network.
   */
  async function waitOf({ form, client, proven }: ClientRequest): Promise<number | undefined> {
    const counted = proven && client.kind !== 'document' ? client.id : await grantBehind(form);
    return counted === undefined ? undefined : take(counted);
  }

  async function grantBehind(form: Parameters): Promise<GrantId | undefined> {
    const [code, token] = [form.get('code'), form.get('refresh_token')];
    switch (form.get('grant_type')) {
      case 'authorization_code':
        return code === undefined ? undefined : (await store.findCode(sha256(code)))?.grant.id;
      case 'refresh_token':
        return token === undefined ? undefined : (await store.findRefreshToken(sha256(token)))?.grant.id;
      default:
        return undefined;
    }
  }

  routes.on('POST', ['/oauth/register', '/register'], limitTo(MAX_REGISTRATION_BYTES), async (c) => {
    const registration = registerClient(parseJson(await c.req.text()), now(), random);
    if (isFault(registration)) return refuse(c, registration);
    await store.addClient(registration.client);
    await audit('client.registered', { client: registration.client.id });
    return answer(c, registrationResponse(registration), 201);
  });

  routes.on('POST', ['/oauth/token', '/token'], limit, async (c) => {
    const form = await readForm(c);
    const grantType = isFault(form) ? undefined : form.get('grant_type');
    const request = isFault(form) ? form : await authenticate(c, form);
    if (isFault(request)) {
      count(grantType, request.reason);
      return refuse(c, request, isFault(form) ? undefined : claimedId(c, form));
    }
    const seconds = await waitOf(request);
    if (seconds !== undefined) {
      count(grantType, 'limited');
      tellLimited(c);
      return tooManyRequests(c, seconds);
    }
    const response = await tokens.exchange(request.client, request.form);
    count(grantType, isFault(response) ? response.reason : 'issued');
    return isFault(response) ? refuse(c, response, request.client.id) : answer(c, response, 200);
  });

  // RFC 7009 §2.2: an unknown token is as good as a revoked one.
  routes.on('POST', ['/oauth/revoke', '/revoke'], limit, async (c) => {
    const request = await readClient(c);
    if (request instanceof Response) return request;
    const token = request.form.get('token');
    if (token === undefined) return refuse(c, fault('parameter_missing', 'token'), request.client.id);
    const revoked = await store.revokeToken(sha256(token), request.client.id);
    if (revoked !== undefined) {
      const { kind, grant } = revoked;
      if (kind === 'refresh') deps.onGrantRevoked(grant);
      await audit('token.revoked', { client: request.client.id, grant, reason: `${kind}_token` });
    }
    return answer(c, {}, 200);
  });

  // RFC 7662: for resource servers of the operator, so only clients that the operator made may ask.
  routes.post('/oauth/introspect', limit, async (c) => {
    const request = await readClient(c);
    if (request instanceof Response) return request;
    const { client, form } = request;
    if (client.kind !== 'registered' || client.secretHash === undefined) {
      return refuse(
        c,
        fault('client_unauthenticated', 'not a confidential client of the operator'),
        client.id,
      );
    }
    const token = form.get('token');
    if (token === undefined) return refuse(c, fault('parameter_missing', 'token'), client.id);
    return answer(c, await tokens.introspect(token), 200);
  });

  return routes;
}

/** Who the caller says it is, for whoever looks into its refusal. */
function claimedId(c: Context, form: Parameters): string | undefined {
  const claimed = parseClientCredentials(form, c.req.header('authorization'));
  return isFault(claimed) ? undefined : claimed.id.slice(0, 200);
}

function reasonOf({ reason, detail }: OAuthFault): string {
  return detail === '' ? reason : `${reason}: ${detail}`;
}

async function readForm(c: Context): Promise<Parameters | OAuthFault> {
  const type = c.req.header('content-type') ?? '';
  if (!/^application\/x-www-form-urlencoded(?:;|$)/i.test(type)) {
    return fault('request_malformed', 'the content type must be application/x-www-form-urlencoded');
  }
  return parseParameters(new URLSearchParams(await c.req.text()));
}

function answer(c: Context, body: object, status: 200 | 201 | 400 | 401 | 503): Response {
  c.header('Cache-Control', 'no-store');
  return c.json(body, status);
}
