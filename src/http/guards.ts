/** Checks in front of every route: the Host we answer for, the browser origins we answer to, the headers we always set. */
import type { Context, MiddlewareHandler } from 'hono';
import { cors } from 'hono/cors';

const LOOPBACK_HOST = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i;

/**
 * Refuses a Host that is not ours, before anything is read: a rebinding name must not reach us. A loopback broker
 * answers to any loopback name and port.
 */
export function hostGuard(publicUrl: string): MiddlewareHandler {
  const { host, port, protocol } = new URL(publicUrl);
  const accepted = new Set([host, port === '' ? `${host}:${protocol === 'https:' ? 443 : 80}` : host]);
  const loopback = LOOPBACK_HOST.test(host);
  return async function hostGuard(c, next) {
    const asked = c.req.header('host')?.toLowerCase() ?? '';
    if (accepted.has(asked) || (loopback && LOOPBACK_HOST.test(asked))) return next();
    return c.json({ error: 'forbidden', error_description: 'This host is not served here.' }, 403);
  };
}

/** `any`: tokens are never ambient (no cookie is read on these routes), so a foreign page gains nothing by calling us. */
export type AllowedOrigins = 'any' | readonly string[];

/** CORS and the Origin check for endpoints that take tokens instead of cookies. A preflight is answered here. */
export function originGuard(publicUrl: string, allowed: AllowedOrigins): MiddlewareHandler {
  const accepts = (origin: string) => allowed === 'any' || origin === publicUrl || allowed.includes(origin);
  const allowOrigin = (origin: string) => (allowed === 'any' ? '*' : origin);
  const preflight = cors({
    origin: (origin) => (accepts(origin) ? allowOrigin(origin) : undefined),
    allowMethods: ['GET', 'POST', 'DELETE', 'HEAD'],
    // Left out, allowHeaders echoes what the preflight asks for: `Mcp-Param-*` cannot be listed.
    exposeHeaders: EXPOSED,
    maxAge: 7200,
  });
  return async function originGuard(c, next) {
    const origin = c.req.header('origin');
    if (origin !== undefined && !accepts(origin)) {
      return c.json({ error: 'forbidden', error_description: 'This origin may not call the broker.' }, 403);
    }
    if (c.req.method === 'OPTIONS') return preflight(c, next);
    await next();
    // Not by Hono's: it touches the response too early, so that each body would pass through a stream of its own.
    if (accepts(origin ?? '')) set(c, 'Access-Control-Allow-Origin', allowOrigin(origin ?? ''));
    set(c, 'Access-Control-Expose-Headers', EXPOSED.join());
    c.res.headers.append('Vary', 'Origin');
    return undefined;
  };
}

const EXPOSED = ['WWW-Authenticate', 'Mcp-Session-Id', 'MCP-Protocol-Version', 'Retry-After'];

/** Headers that belong on every answer. */
export function securityHeaders(publicUrl: string): MiddlewareHandler {
  const https = publicUrl.startsWith('https:');
  return async function securityHeaders(c, next) {
    await next();
    set(c, 'X-Content-Type-Options', 'nosniff');
    set(c, 'Referrer-Policy', 'same-origin');
    if (https) set(c, 'Strict-Transport-Security', 'max-age=31536000');
  };
}

function set(c: Context, name: string, value: string): void {
  c.res.headers.set(name, value);
}
