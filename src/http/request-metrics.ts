/** How requests ended: by route and status, and at the token endpoint by our own reason. No path, no client, no user. */
import type { MiddlewareHandler } from 'hono';
import type { Metrics, Tally } from '../base/metrics.js';
import { OAUTH_REASONS, type OAuthReason } from '../oauth/fault.js';

/** NOTE: the paths of app.ts, where a slash at the end counts for nothing. A path that is not here is `other`. */
const PATHS = {
  home: ['/'],
  health: ['/healthz', '/readyz'],
  authorize: ['/oauth/authorize', '/authorize'],
  consent: ['/oauth/consent'],
  callback: ['/oauth/callback'],
  token: ['/oauth/token', '/token'],
  register: ['/oauth/register', '/register'],
  revoke: ['/oauth/revoke', '/revoke'],
  introspect: ['/oauth/introspect'],
  /** Several, by how they begin. */
  mcp: [],
  well_known: [],
  other: [],
} as const;

type Route = keyof typeof PATHS;

const ROUTES = Object.keys(PATHS) as Route[];
const ROUTE_OF_PATH = new Map<string, Route>(
  ROUTES.flatMap((route) => PATHS[route].map((path) => [path, route] as const)),
);
const STATUSES = '200 201 202 204 302 303 400 401 403 404 405 413 415 429 500 503 other'.split(' ');

/** Counts a request once its status is known; what then flows is not its business. */
export type CountRequest = (path: string, status: number) => void;

export function requestCounter(metrics: Metrics): CountRequest {
  const count = metrics.counter('fjmcp_http_requests_total', 'HTTP requests, by route and status.', {
    route: ROUTES,
    status: STATUSES,
  });
  const seen = new Map(ROUTES.map((route) => [route, new Map<number, Tally>()]));
  return (path, status) => {
    const route = routeOf(path);
    const tallies = seen.get(route);
    const tally = tallies?.get(status) ?? count({ route, status: known(status) });
    tallies?.set(status, tally);
    tally.add();
  };
}

export function countRequests(count: CountRequest): MiddlewareHandler {
  return async function countRequests(c, next) {
    await next();
    count(c.req.path, c.res.status);
  };
}

function routeOf(path: string): Route {
  if (path.startsWith('/mcp')) return path.length === 4 || path[4] === '/' ? 'mcp' : 'other';
  if (path.startsWith('/.well-known/')) return 'well_known';
  return ROUTE_OF_PATH.get(path) ?? 'other';
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
