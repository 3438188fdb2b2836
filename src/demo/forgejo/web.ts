/** What every browser-facing route shares: fields, redirects, the session cookie, and the checks before a page is shown. */
import { randomBytes } from 'node:crypto';
import type { Context, MiddlewareHandler } from 'hono';
import { getCookie, setCookie } from 'hono/cookie';
import { html } from 'hono/html';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { Instance } from './instance.js';
import { barredPage } from './pages.js';
import { type BrowserSession, barOf, type User } from './rows.js';

export interface WebEnv {
  Variables: { session: BrowserSession; user: User };
}

/** A field's value, "" when it is missing: Forgejo knows no difference. */
export type Fields = (name: string) => string;

/** GET has its fields in the query, POST in a form, or in JSON where `json` allows it; an unreadable body is an empty one. */
export async function readFields(c: Context, json?: 'json'): Promise<Fields> {
  if (c.req.method !== 'POST') return (name) => c.req.query(name) ?? '';
  try {
    if (json && c.req.header('content-type')?.startsWith('application/json')) {
      const body: unknown = await c.req.json();
      const values = new Map(Object.entries(typeof body === 'object' && body !== null ? body : {}));
      return (name) => textOf(values.get(name));
    }
    const form = await c.req.formData();
    return (name) => textOf(form.get(name));
  } catch {
    return () => '';
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

export function answerJson(c: Context, body: unknown, status: ContentfulStatusCode = 200): Response {
  return c.body(JSON.stringify(body), status, { 'content-type': 'application/json;charset=utf-8' });
}

export function answerText(
  c: Context,
  status: ContentfulStatusCode,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return c.body(`${text}\n`, status, { ...headers, 'content-type': 'text/plain; charset=utf-8' });
}

export async function seeOther(c: Context, to: string): Promise<Response> {
  if (c.req.header('hx-request') === 'true') return c.body(null, 204, { 'hx-redirect': to });
  const body = `${await html`<a href="${to}">See Other</a>.`}\n\n`;
  return c.body(body, 303, { location: to, 'content-type': 'text/html; charset=utf-8' });
}

/** Neither `no-store` nor CORS: that is how Forgejo's pages and OAuth endpoints answer. */
export const pageHeaders: MiddlewareHandler = async (c, next) => {
  await next();
  c.res.headers.set('cache-control', 'max-age=0, private, must-revalidate');
  c.res.headers.set('x-frame-options', 'SAMEORIGIN');
};

/** Finds the browser's session, or gives it an anonymous one. */
export function withSession(instance: Instance): MiddlewareHandler<WebEnv> {
  return async (c, next) => {
    const known = instance.sessions.get(getCookie(c, instance.variant.sessionCookie) ?? '');
    c.set('session', known ?? openSession(instance, c));
    await next();
  };
}

/** A new session id for this browser, as a login gives it; the old session is left behind. */
export function openSession(instance: Instance, c: Context, userId?: number): BrowserSession {
  const id = randomBytes(16).toString('hex');
  const csrf = randomBytes(24).toString('base64url');
  const session: BrowserSession = {
    csrf,
    userId,
    asked: undefined,
    codeChallenge: '',
    codeChallengeMethod: '',
  };
  instance.sessions.set(id, session);
  setCookie(c, instance.variant.sessionCookie, id, cookieOptions(instance));
  return session;
}

export function cookieOptions(instance: Instance): { httpOnly: true; sameSite: 'Lax'; path: string } {
  return { httpOnly: true, sameSite: 'Lax', path: instance.subPath || '/' };
}

/** Account, then forgery, then login: the first that fails answers, and none of them tells the OAuth client. */
export function requireUser(instance: Instance): MiddlewareHandler<WebEnv> {
  return async (c, next) => {
    const { session } = c.var;
    const user = instance.users.get(session.userId ?? 0);
    const bar = barOf(user);
    if (bar !== undefined) return c.html(barredPage(instance, bar));
    if (user?.status === 'must-change-password') {
      return await seeOther(c, `${instance.subPath}/user/settings/change_password`);
    }
    if (c.req.method === 'POST') {
      const forged =
        instance.variant.csrf === 'field' ? await refuseWithoutField(c, session) : refuseForeignOrigin(c);
      if (forged !== undefined) return forged;
    }
    if (user === undefined) {
      const { pathname, search } = new URL(c.req.url);
      setCookie(c, 'redirect_to', pathname + search, cookieOptions(instance));
      return await seeOther(c, `${instance.subPath}/user/login`);
    }
    c.set('user', user);
    return await next();
  };
}

async function refuseWithoutField(c: Context, session: BrowserSession): Promise<Response | undefined> {
  const sent = c.req.header('x-csrf-token') ?? (await readFields(c))('_csrf');
  return sent === session.csrf ? undefined : answerText(c, 400, 'Invalid CSRF token.');
}

/** Go's `http.CrossOriginProtection`: a client that sends neither header is no browser, and passes. */
function refuseForeignOrigin(c: Context): Response | undefined {
  const site = c.req.header('sec-fetch-site') ?? '';
  if (site === 'same-origin' || site === 'none') return undefined;
  if (site !== '') {
    return answerText(c, 403, 'cross-origin request detected from Sec-Fetch-Site header');
  }
  const origin = c.req.header('origin') ?? '';
  const isOwn = URL.canParse(origin) && new URL(origin).host === c.req.header('host');
  if (origin === '' || isOwn) return undefined;
  return answerText(
    c,
    403,
    'cross-origin request detected, and/or browser is out of date: Sec-Fetch-Site is missing, and Origin does not match Host',
  );
}
