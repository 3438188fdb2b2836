/**
 * A scripted browser for sign-in pages: cookies, redirects, forms. Where a real browser would refuse, it refuses:
 * `form-action` holds along the whole redirect chain (as in Chromium), SameSite is judged by origin, and a POST
 * carries `Origin` (`null` under `Referrer-Policy: no-referrer`).
 */
import assert from 'node:assert/strict';
import { CookieJar } from './cookies.js';
import { formActionOf } from './form-action.js';
import { type Button, type Form, parseForms, parseRefresh, textOf } from './html.js';

export interface Page {
  readonly url: URL;
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
  readonly forms: readonly Form[];
  /** Set when the browser stopped at a redirect it was told not to follow, or could not (`cursor://…`). */
  readonly location?: URL;
}

export type Fields = Readonly<Record<string, string>>;

export interface NavigateOptions {
  /** A redirect to such a URL ends the navigation; it is found in `page.location`. */
  readonly stopAt?: (url: URL) => boolean;
}

export interface SubmitOptions extends NavigateOptions {
  /** Default: the only form of the page. */
  readonly form?: Form;
  /** The value or the text of the button to press; default: the first one. */
  readonly button?: string | Button;
  readonly fields?: Fields;
}

export interface Person {
  readonly login: string;
  readonly password: string;
}

export interface SignInOptions {
  /** Requests the redirect at the client's address too, as a real browser does. */
  readonly deliver?: boolean;
}

interface Step {
  readonly url: URL;
  readonly method: 'GET' | 'POST';
  readonly body?: URLSearchParams;
  readonly origin?: string;
}

interface CookielessRequest {
  readonly method: 'GET' | 'POST';
  readonly headers: Headers;
  readonly body?: URLSearchParams | null;
}

const MAX_REDIRECTS = 20;
const MAX_PAGES = 8;

export class Browser {
  readonly cookies = new CookieJar();

  /** Opens a URL as if typed, or opened by another program. */
  open(url: string | URL, options: NavigateOptions = {}): Promise<Page> {
    return this.#navigate({ url: new URL(url), method: 'GET' }, undefined, options);
  }

  /** Follows a link, a script's redirect or a refresh of `page`. */
  follow(page: Page, url: string, options: NavigateOptions = {}): Promise<Page> {
    return this.#navigate({ url: new URL(url, page.url), method: 'GET' }, page, options);
  }

  submit(page: Page, options: SubmitOptions = {}): Promise<Page> {
    const form = options.form ?? page.forms[0];
    assert.ok(form, `no form to submit on ${describe(page)}`);
    const data = new URLSearchParams([...form.fields]);
    const button = findButton(form, options.button);
    if (button?.name !== undefined) data.set(button.name, button.value);
    for (const [name, value] of Object.entries(options.fields ?? {})) data.set(name, value);

    const url = new URL(form.action || page.url, page.url);
    if (form.method === 'GET') {
      url.search = data.toString();
      return this.#navigate({ url, method: 'GET' }, page, options);
    }
    const hidden = page.headers.get('referrer-policy')?.split(',').at(-1)?.trim() === 'no-referrer';
    const origin = hidden ? 'null' : page.url.origin;
    return this.#navigate(
      { url, method: 'POST', body: data, origin },
      page,
      options,
      formActionOf(page.headers, page.url),
    );
  }

  /** One request with the caller's headers and these cookies. Redirects are found in `page.location`, not followed. */
  get(url: string | URL, headers: Fields = {}): Promise<Page> {
    return this.#step(new URL(url), { method: 'GET', headers: new Headers(headers) });
  }

  /** As `get`, with a form. */
  post(url: string | URL, fields: Fields, headers: Fields = {}): Promise<Page> {
    const body = new URLSearchParams(fields);
    return this.#step(new URL(url), { method: 'POST', headers: new Headers(headers), body });
  }

  async #step(url: URL, request: CookielessRequest): Promise<Page> {
    const response = await this.#send(url, request, true);
    return readPage(url, response, locationOf(url, response));
  }

  async #navigate(
    first: Step,
    from: Page | undefined,
    { stopAt }: NavigateOptions,
    mayGoTo: (url: URL) => boolean = () => true,
  ): Promise<Page> {
    const chain = from === undefined ? [] : [from.url.origin];
    let step = first;
    for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
      assert.ok(mayGoTo(step.url), `form-action of ${from?.url} forbids ${step.url.origin}`);
      chain.push(step.url.origin);
      const response = await this.#request(step, chain, from !== undefined);
      const location = locationOf(step.url, response);
      if (location === undefined || !location.protocol.startsWith('http') || stopAt?.(location)) {
        if (location !== undefined) {
          assert.ok(mayGoTo(location), `form-action of ${from?.url} forbids ${location.origin}`);
        }
        return readPage(step.url, response, location);
      }
      await response.body?.cancel();
      step = nextStep(step, response.status, location);
    }
    throw new Error(`more than ${MAX_REDIRECTS} redirects from ${first.url}`);
  }

  async #request(
    { url, method, body, origin }: Step,
    chain: readonly string[],
    linked: boolean,
  ): Promise<Response> {
    const sameSite = chain.every((site) => site === url.origin);
    const headers = new Headers({
      Accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8',
      'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64) scripted-browser',
      'Sec-Fetch-Site': sameSite ? (linked ? 'same-origin' : 'none') : 'cross-site',
      'Sec-Fetch-Dest': 'document',
    });
    if (origin !== undefined) headers.set('Origin', origin);
    return this.#send(url, { method, headers, body: body ?? null }, sameSite);
  }

  async #send(url: URL, request: CookielessRequest, sameSite: boolean): Promise<Response> {
    const cookie = this.cookies.header(url, { sameSite, method: request.method });
    if (cookie !== undefined) request.headers.set('Cookie', cookie);
    const response = await fetch(url, { ...request, redirect: 'manual' });
    this.cookies.store(url, response.headers.getSetCookie());
    return response;
  }
}

/**
 * Walks from the authorization URL to the redirect back to the client: the broker's consent, Forgejo's login,
 * Forgejo's consent, each only if it is shown. Returns that redirect, whether it carries a code or an error.
 */
export async function signIn(
  browser: Browser,
  authorizationUrl: string | URL,
  person: Person,
  { deliver = false }: SignInOptions = {},
): Promise<URL> {
  const callback = new URL(authorizationUrl).searchParams.get('redirect_uri') ?? '';
  const stopAt = (url: URL) => callback !== '' && isSameAddress(url, new URL(callback));
  let page = await browser.open(authorizationUrl, { stopAt });
  const passed = new Set<string>();
  for (let count = 0; count < MAX_PAGES && page.location === undefined; count += 1) {
    const refresh = parseRefresh(page.body);
    if (page.forms.length === 0 && refresh !== undefined) {
      const target = new URL(refresh, page.url);
      if (stopAt(target) || !target.protocol.startsWith('http'))
        return arrive(browser, page, target, deliver);
      page = await browser.follow(page, refresh, { stopAt });
      continue;
    }
    const answer = answerTo(page, person);
    assert.ok(answer, `sign-in of ${person.login} is stuck at ${describe(page)}`);
    assert.ok(!passed.has(answer.kind), `${answer.kind} came back: ${describe(page)}`);
    passed.add(answer.kind);
    page = await browser.submit(page, { ...answer.submit, stopAt });
  }
  assert.ok(page.location, `sign-in of ${person.login} ended at ${describe(page)}`);
  return arrive(browser, page, page.location, deliver);
}

/** What `person` types into the login page of Forgejo. */
export function loginFields({ login, password }: Person) {
  return { user_name: login, password };
}

async function arrive(browser: Browser, page: Page, target: URL, deliver: boolean): Promise<URL> {
  if (deliver) {
    const last = await browser.follow(page, target.href);
    assert.ok(last.status < 400, `the client answered its redirect with ${describe(last)}`);
  }
  return target;
}

function answerTo(page: Page, person: Person): { kind: string; submit: SubmitOptions } | undefined {
  for (const form of page.forms) {
    const login = ['user_name', 'password'].every((name) => form.fields.has(name));
    if (login) {
      return { kind: 'the login page of Forgejo', submit: { form, fields: loginFields(person) } };
    }
    const grant = form.buttons.find(({ name, value }) => name === 'granted' && value === 'true');
    if (grant !== undefined) return { kind: 'the consent page of Forgejo', submit: { form, button: grant } };
    const button = form.buttons.find(({ text }) => /continue|allow|approve|authorize/i.test(text));
    if (
      new URL(form.action || page.url, page.url).pathname.endsWith('/oauth/consent') &&
      button !== undefined
    ) {
      return { kind: 'the consent page of the broker', submit: { form, button } };
    }
  }
  return undefined;
}

function findButton(form: Form, wanted: string | Button | undefined): Button | undefined {
  if (typeof wanted !== 'string') return wanted ?? form.buttons[0];
  const found = form.buttons.find(({ value, text }) => value === wanted || text === wanted);
  assert.ok(found, `no button "${wanted}" in the form to ${form.action}`);
  return found;
}

function nextStep(step: Step, status: number, url: URL): Step {
  const repeats = status === 307 || status === 308;
  return repeats ? { ...step, url } : { url, method: 'GET' };
}

function locationOf(url: URL, { status, headers }: Response): URL | undefined {
  const target = headers.get('location');
  return [301, 302, 303, 307, 308].includes(status) && target ? new URL(target, url) : undefined;
}

function isSameAddress(a: URL, b: URL): boolean {
  return a.origin === b.origin && a.protocol === b.protocol && a.host === b.host && a.pathname === b.pathname;
}

async function readPage(url: URL, response: Response, location: URL | undefined): Promise<Page> {
  const body = await response.text();
  const { status, headers } = response;
  return {
    url,
    status,
    headers,
    body,
    forms: parseForms(body),
    ...(location === undefined ? {} : { location }),
  };
}

function describe(page: Page): string {
  return `${page.url} (${page.status}): ${textOf(page.body).slice(0, 300)}`;
}
