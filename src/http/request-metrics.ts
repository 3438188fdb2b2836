/** How requests ended: by route and status, and at the token endpoint by our own reason. No path, no client, no user. */
import type { MiddlewareHandler } from 'hono';
import type { Metrics, Tally } from '../base/metrics.js';
import { OAUTH_REASONS, type OAuthReason } from '../oauth/fault.js';

/** NOTE: the paths of app.ts. A path that is not here counts as `other`. */
const ROUTE_OF_PATH = {
  '/': 'home',
  '/healthz': 'health',
  '/readyz': 'health',
  '/oauth/authorize': 'authorize',
  '/authorize': 'authorize',
  '/oauth/consent': 'consent',
  '/oauth/callback': 'callback',
  '/oauth/token': 'token',
  '/token': 'token',
  '/oauth/register': 'register',
  '/register': 'register',
  '/oauth/revoke': 'revoke',
  '/revoke': 'revoke',
  '/oauth/introspect': 'introspect',
} as const;

type Route = (typeof ROUTE_OF_PATH)[keyof typeof ROUTE_OF_PATH] | 'mcp' | 'well_known' | 'other';

const ROUTES: readonly Route[] = [...new Set(Object.values(ROUTE_OF_PATH)), 'mcp', 'well_known', 'other'];
const STATUSES = '200 201 202 204 302 303 400 401 403 404 405 413 415 429 500 503 other'.split(' ');

/** Counts each request once its status is known; what then flows is not its business. */
export function countRequests(metrics: Metrics): MiddlewareHandler {
  const count = metrics.counter('fjmcp_http_requests_total', 'HTTP requests, by route and status.', {
    route: ROUTES,
    status: STATUSES,
  });
  const seen = new Map(ROUTES.map((route) => [route, new Map<number, Tally>()]));
  return async function countRequests(c, next) {
    await next();
    const route = routeOf(c.req.path);
    const { status } = c.res;
    const tallies = seen.get(route);
    const tally = tallies?.get(status) ?? count({ route, status: known(status) });
    tallies?.set(status, tally);
    tally.add();
  };
}

function routeOf(path: string): Route {
  if (path.startsWith('/mcp')) return path.length === 4 || path[4] === '/' ? 'mcp' : 'other';
  if (path.startsWith('/.well-known/')) return 'well_known';
  // The router takes a slash at the end for nothing.
  const plain = path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
  return Object.hasOwn(ROUTE_OF_PATH, plain) ? ROUTE_OF_PATH[plain as keyof typeof ROUTE_OF_PATH] : 'other';
}

const known = (status: number): string => STATUSES.find((text) => text === String(status)) ?? 'other';

const GRANT_TYPES = ['authorization_code', 'refresh_token', 'other'] as const;
const TOKEN_OUTCOMES = ['issued', 'limited', ...OAUTH_REASONS] as const;

/** What the token endpoint answered. A grant type that is none of ours is a stranger's text. */
export function countTokenRequests(
  metrics: Metrics,
): (grantType: string | undefined, outcome: 'issued' | 'limited' | OAuthReason) => void {
  const count = metrics.counter('fjmcp_token_requests_total', 'Token requests, by how they ended.', {
    grant_type: GRANT_TYPES,
    outcome: TOKEN_OUTCOMES,
  });
  return (grantType, outcome) => {
    const grant_type = GRANT_TYPES.find((known) => known === grantType) ?? 'other';
    count({ grant_type, outcome }).add();
  };
}
