/** Checks in front of every route: the Host we answer for, the browser origins we answer to, the headers we always set. */
import type { MiddlewareHandler } from 'hono';
import { cors } from 'hono/cors';

const LOOPBACK_HOST = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i;

/** The hosts we answer for; a loopback broker answers to any loopback name and port. */
export function hostRule(publicUrl: string): (host: string | undefined) => boolean {
  const { host, port, protocol } = new URL(publicUrl);
  const ours = new Set([host, port === '' ? `${host}:${protocol === 'https:' ? 443 : 80}` : host]);
  const loopback = LOOPBACK_HOST.test(host);
  return (asked = '') =>
    ours.has(asked) || ours.has(asked.toLowerCase()) || (loopback && LOOPBACK_HOST.test(asked));
}

export const FOREIGN_HOST = { error: 'forbidden', error_description: 'This host is not served here.' };

/** Refuses a Host that is not ours, before anything is read: a rebinding name must not reach us. */
export function hostGuard(publicUrl: string): MiddlewareHandler {
  const isOurs = hostRule(publicUrl);
  return async function hostGuard(c, next) {
    return isOurs(c.req.header('host')) ? next() : c.json(FOREIGN_HOST, 403);
  };
}

/** `any`: tokens are never ambient (no cookie is read on these routes), so a foreign page gains nothing by calling us. */
export type AllowedOrigins = 'any' | readonly string[];

export interface OriginRule {
  accepts(origin: string): boolean;
  /** What it is told in an answer (Fetch, CORS protocol). */
  headers(origin: string | undefined): Readonly<Record<string, string>>;
}

export function originRule(publicUrl: string, allowed: AllowedOrigins): OriginRule {
  const accepts = (origin: string) => allowed === 'any' || origin === publicUrl || allowed.includes(origin);
  const exposed = { 'Access-Control-Expose-Headers': EXPOSED.join(), Vary: 'Origin' };
  const toAny = { 'Access-Control-Allow-Origin': '*', ...exposed };
  return {
    accepts,
    headers: (origin = '') => {
      if (allowed === 'any') return toAny;
      return accepts(origin) ? { 'Access-Control-Allow-Origin': origin, ...exposed } : exposed;
    },
  };
}

export const FOREIGN_ORIGIN = {
  error: 'forbidden',
  error_description: 'This origin may not call the broker.',
};

/** CORS and the Origin check for endpoints that take tokens instead of cookies. A preflight is answered here. */
export function originGuard(rule: OriginRule): MiddlewareHandler {
  const preflight = cors({
    origin: (origin) =>
      rule.accepts(origin) ? rule.headers(origin)['Access-Control-Allow-Origin'] : undefined,
    allowMethods: ['GET', 'POST', 'DELETE', 'HEAD'],
    // Left out, allowHeaders echoes what the preflight asks for: `Mcp-Param-*` cannot be listed.
    exposeHeaders: EXPOSED,
    maxAge: 7200,
  });
  return async function originGuard(c, next) {
    const origin = c.req.header('origin');
    if (origin !== undefined && !rule.accepts(origin)) return c.json(FOREIGN_ORIGIN, 403);
    if (c.req.method === 'OPTIONS') return preflight(c, next);
    await next();
    for (const [name, value] of Object.entries(rule.headers(origin))) {
      c.res.headers.set(name, name === 'Vary' ? joinVary(c.res.headers.get(name), value) : value);
    }
    return undefined;
  };
}

const joinVary = (present: string | null, value: string): string =>
  present === null ? value : `${present}, ${value}`;

const EXPOSED = ['WWW-Authenticate', 'Mcp-Session-Id', 'MCP-Protocol-Version', 'Retry-After'];

/** Headers that belong on every answer. */
export function commonHeaders(publicUrl: string): Readonly<Record<string, string>> {
  return {
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'same-origin',
    ...(publicUrl.startsWith('https:') && { 'Strict-Transport-Security': 'max-age=31536000' }),
  };
}

export function securityHeaders(publicUrl: string): MiddlewareHandler {
  const headers = Object.entries(commonHeaders(publicUrl));
  return async function securityHeaders(c, next) {
    await next();
    for (const [name, value] of headers) c.res.headers.set(name, value);
  };
}
