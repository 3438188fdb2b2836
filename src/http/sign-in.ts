/** What the browser sees of a sign-in: authorize, consent, callback. It decides nothing: it reads, asks, and renders. */
import type { BlockList } from 'node:net';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { getCookie, setCookie } from 'hono/cookie';
import { type Randomness, randomToken } from '../base/ids.js';
import { isFault } from '../oauth/fault.js';
import { parseParameters } from '../oauth/parameters.js';
import type { FormProblem, SignIn, SignInStep } from '../oauth/sign-in.js';
import type { NodeEnv } from './app.js';
import {
  consentPage,
  explanationPage,
  renderPage,
  returnPage,
  type Upstream,
  upstreamFailedPage,
} from './pages.js';
import { callerNetwork, RETRY_SECONDS } from './rate-limits.js';

export interface SignInRoutesDeps {
  readonly publicUrl: string;
  readonly upstream: Upstream;
  readonly signIn: SignIn;
  readonly trustedProxies: BlockList;
  readonly random: Randomness;
}

const MAX_FORM_BYTES = 16 * 1024;

export function signInRoutes(deps: SignInRoutesDeps): Hono<NodeEnv> {
  const { publicUrl, upstream, signIn, trustedProxies, random } = deps;
  const routes = new Hono<NodeEnv>();
  const secure = publicUrl.startsWith('https:');
  const cookie = secure ? '__Host-fjmcp_browser' : 'fjmcp_browser';

  /** The value that binds a pending authorization to this browser; many tabs share it. */
  const browserOf = (c: Context): string | undefined => getCookie(c, cookie);
  const ensureBrowser = (c: Context): string => {
    const known = browserOf(c);
    if (known !== undefined && known.length >= 43) return known;
    const value = randomToken(random, '');
    // Lax, not Strict: the callback is a navigation that starts at Forgejo.
    setCookie(c, cookie, value, { path: '/', httpOnly: true, sameSite: 'Lax', secure });
    return value;
  };

  const render = (c: Context, step: SignInStep): Response | Promise<Response> => {
    switch (step.next) {
      case 'redirect':
        c.header('Cache-Control', 'no-store');
        // 303, never 307: the answer to a POST must not be posted on to the client.
        return c.redirect(step.to, 303);
      case 'offer_return':
        return renderPage(c, 400, returnPage(step, upstream));
      case 'consent':
        return renderPage(c, 200, consentPage(step.form, upstream));
      case 'upstream_failed':
        return renderPage(c, 502, upstreamFailedPage(step.fault.kind, step.form, upstream));
      case 'explain':
        if (step.problem === 'client_document_unavailable') c.header('Retry-After', String(RETRY_SECONDS));
        return renderPage(
          c,
          step.problem === 'client_document_unavailable' ? 503 : 400,
          explanationPage(step.problem, upstream, {
            audit: step.audit,
            again: requestBefore(c),
            host: step.host,
          }),
        );
    }
  };

  routes.on('GET', ['/oauth/authorize', '/authorize'], async (c) => {
    const origin = { browser: ensureBrowser(c), network: callerNetwork(c, trustedProxies) };
    return render(c, await signIn.authorize(new URL(c.req.url).searchParams, origin));
  });

  const refuse = async (c: Context, problem: FormProblem) => render(c, await signIn.refuseForm(problem));
  const limit = bodyLimit({ maxSize: MAX_FORM_BYTES, onError: (c) => refuse(c, 'form_too_large') });
  routes.post('/oauth/consent', limit, async (c) => {
    const form = parseParameters(new URLSearchParams(await c.req.text()));
    if (isFault(form)) return refuse(c, 'form_malformed');
    if (isForeign(c)) return refuse(c, 'form_foreign');
    return render(c, await signIn.consent(form, browserOf(c)));
  });

  routes.get('/oauth/callback', async (c) =>
    render(c, await signIn.callback(new URL(c.req.url).searchParams, browserOf(c))),
  );

  return routes;
}

/** The authorization request whose page was posted from, if it was ours: what `Referrer-Policy: same-origin` tells us alone. */
function requestBefore(c: Context): string | undefined {
  const referrer = c.req.header('referer') ?? '';
  if (c.req.method !== 'POST' || !URL.canParse(referrer)) return undefined;
  const { host, pathname, search } = new URL(referrer);
  const isOurs = host === c.req.header('host') && ['/oauth/authorize', '/authorize'].includes(pathname);
  return isOurs ? pathname + search : undefined;
}

/** The consent form stands on our own pages only, and a browser says where a request comes from. */
function isForeign(c: Context): boolean {
  return ['cross-site', 'same-site'].includes(c.req.header('sec-fetch-site') ?? '');
}
