/**
 * The site map. Everything that answers HTTP but the MCP endpoints (`mcp-gate.ts`) is mounted here, in the order in which a
 * request meets it.
 */
import type { BlockList } from 'node:net';
import type { HttpBindings } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { type Randomness, randomId } from '../base/ids.js';
import { describeError, type Log } from '../base/log.js';
import type { AdvertisedFeatures } from '../oauth/metadata.js';
import type { Resources } from '../oauth/resources.js';
import { hostGuard, type OriginRule, originGuard, securityHeaders } from './guards.js';
import { healthRoutes, type Readiness } from './health.js';
import { busyPage, homePage, incidentPage, renderPage, type Upstream, unavailablePage } from './pages.js';
import {
  createLimitLog,
  RATE_LIMITS,
  RETRY_SECONDS,
  type RefuseTooMany,
  rateLimit,
  tooManyRequests,
} from './rate-limits.js';
import { type CountRequest, countRequests } from './request-metrics.js';
import { type SignInRoutesDeps, signInRoutes } from './sign-in.js';
import { type TokenRoutesDeps, tokenRoutes } from './token.js';
import { wellKnownRoutes } from './well-known.js';

/** Node's own request and response are at hand, except in tests without a socket. */
export type NodeEnv = { Bindings: Partial<HttpBindings> };

export interface AppDeps extends Omit<SignInRoutesDeps, 'upstream'>, TokenRoutesDeps {
  readonly resources: Resources;
  readonly features: AdvertisedFeatures;
  readonly trustedProxies: BlockList;
  readonly origins: OriginRule;
  readonly upstream: Upstream;
  /** Whether an exception is no bug and may pass, such as a store that is locked or has no room. */
  readonly isPassing: (error: unknown) => boolean;
  readonly readiness: () => Promise<Readiness>;
  readonly count: CountRequest;
  readonly random: Randomness;
  readonly log: Log;
}

const LIMITED_PATHS: Readonly<Record<keyof typeof RATE_LIMITS, readonly string[]>> = {
  register: ['/oauth/register', '/register'],
  authorize: ['/oauth/authorize', '/authorize', '/oauth/consent', '/oauth/callback'],
  token: ['/oauth/token', '/token', '/oauth/revoke', '/revoke', '/oauth/introspect'],
};

/** Paths that take tokens and never cookies: any page may call them, so they speak CORS. */
const TOKEN_PATHS = [
  '/.well-known/*',
  '/oauth/register',
  '/oauth/token',
  '/oauth/revoke',
  '/register',
  '/token',
  '/revoke',
  '/oauth/introspect',
  '/mcp/*',
];

export function createApp(deps: AppDeps): Hono<NodeEnv> {
  const { publicUrl, resources, features, trustedProxies, origins, upstream, random, log } = deps;
  const app = new Hono<NodeEnv>({ strict: false });

  app.use(securityHeaders(publicUrl));
  app.use(countRequests(deps.count));
  app.route('/', healthRoutes(deps.readiness));
  app.use(hostGuard(publicUrl));
  for (const path of TOKEN_PATHS) app.use(path, originGuard(origins));

  const tellLimited = createLimitLog(deps);
  const tooManyPage: RefuseTooMany = (c, seconds) => {
    c.header('Retry-After', String(seconds));
    return renderPage(c, 429, busyPage(seconds, upstream));
  };
  for (const [kind, paths] of Object.entries(LIMITED_PATHS) as [keyof typeof RATE_LIMITS, string[]][]) {
    const refuse: RefuseTooMany = (c, seconds) => {
      tellLimited(c);
      return kind === 'authorize' ? tooManyPage(c, seconds) : tooManyRequests(c, seconds);
    };
    const limit = rateLimit(RATE_LIMITS[kind], trustedProxies, refuse);
    for (const path of paths) app.use(path, limit);
  }

  app.route('/', wellKnownRoutes(resources, features));
  app.route('/', tokenRoutes(deps));
  app.route('/', signInRoutes(deps));
  app.get('/', (c) => renderPage(c, 200, homePage(resources.endpoints, upstream)));

  app.notFound((c) => c.json({ error: 'not_found' }, 404));
  app.onError((error, c) => {
    // The caller hung up: nothing broke, and nobody reads an answer.
    if (c.req.raw.signal.aborted) return c.body(null, 400);
    const incident = randomId<string>(random, 'in_');
    log.error('request.failed', { incident, path: c.req.path, error: describeError(error) });
    return failed(c, incident, upstream, deps.isPassing(error));
  });
  return app;
}

/** What broke is the operator's to know; the caller gets an id to quote, in the form its endpoint speaks. */
function failed(
  c: Context,
  incident: string,
  upstream: Upstream,
  passing: boolean,
): Response | Promise<Response> {
  const { path } = c.req;
  if (['/oauth/authorize', '/oauth/consent', '/oauth/callback', '/authorize', '/'].includes(path)) {
    if (!passing) return renderPage(c, 500, incidentPage(incident, upstream));
    c.header('Retry-After', String(RETRY_SECONDS));
    return renderPage(c, 503, unavailablePage(RETRY_SECONDS, incident, upstream));
  }
  c.header('Cache-Control', 'no-store');
  const error_description = `Internal error (${incident}).`;
  if (!passing) return c.json({ error: 'server_error', error_description }, 500);
  // The SDKs answer a `server_error` with a new sign-in; this code they report, and keep their tokens.
  c.header('Retry-After', String(RETRY_SECONDS));
  return c.json({ error: 'temporarily_unavailable', error_description }, 503);
}
