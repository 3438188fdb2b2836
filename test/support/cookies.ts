/**
 * A browser's cookie jar. Kept by host and not by port (RFC 6265 §8.5), as browsers do: two services on one
 * loopback address see each other's cookies. `__Host-` and `Secure` are enforced; loopback counts as secure.
 */

interface Cookie {
  readonly name: string;
  readonly value: string;
  readonly host: string;
  readonly path: string;
  readonly secure: boolean;
  readonly sameSite: 'strict' | 'lax' | 'none';
  readonly expiresAt: number;
}

/** How the request came to be: `strict` needs the same site, `lax` a plain navigation. */
export interface Arrival {
  readonly sameSite: boolean;
  readonly method: string;
}

export class CookieJar {
  #cookies: Cookie[] = [];

  /** Takes the `Set-Cookie` lines of an answer from `url`. */
  store(url: URL, lines: readonly string[], now = Date.now()): void {
    for (const line of lines) {
      const cookie = parseCookie(url, line, now);
      if (cookie === undefined) continue;
      this.#cookies = this.#cookies.filter((kept) => !isSameCookie(kept, cookie));
      if (cookie.expiresAt > now) this.#cookies.push(cookie);
    }
  }

  /** The `Cookie` header for a request to `url`, or undefined when none fits. */
  header(url: URL, { sameSite, method }: Arrival, now = Date.now()): string | undefined {
    const fitting = this.#cookies
      .filter((cookie) => cookie.host === url.hostname && cookie.expiresAt > now)
      .filter((cookie) => pathMatches(url.pathname, cookie.path) && (!cookie.secure || isSecure(url)))
      .filter(
        (cookie) => sameSite || cookie.sameSite === 'none' || (cookie.sameSite === 'lax' && method === 'GET'),
      )
      .sort((a, b) => b.path.length - a.path.length);
    return fitting.length === 0 ? undefined : fitting.map(({ name, value }) => `${name}=${value}`).join('; ');
  }

  get(url: string | URL, name: string): string | undefined {
    const { hostname } = new URL(url);
    return this.#cookies.find((cookie) => cookie.host === hostname && cookie.name === name)?.value;
  }

  clear(): void {
    this.#cookies = [];
  }
}

function parseCookie(url: URL, line: string, now: number): Cookie | undefined {
  const [pair = '', ...rest] = line.split(';').map((part) => part.trim());
  const split = pair.indexOf('=');
  if (split < 1) return undefined;
  const attributes = new Map(
    rest.map((part): [string, string] => {
      const [key = '', ...value] = part.split('=');
      return [key.toLowerCase(), value.join('=')];
    }),
  );
  const name = pair.slice(0, split);
  const path = attributes.get('path') ?? '';
  const domain = attributes.get('domain');
  const secure = attributes.has('secure');
  if (secure && !isSecure(url)) return undefined;
  if (name.startsWith('__Host-') && !(secure && path === '/' && domain === undefined)) return undefined;
  if (name.startsWith('__Secure-') && !secure) return undefined;
  if (domain !== undefined && domain.replace(/^\./, '') !== url.hostname) return undefined;
  return {
    name,
    value: pair.slice(split + 1),
    host: url.hostname,
    path: path.startsWith('/') ? path : defaultPath(url),
    secure,
    sameSite: sameSiteOf(attributes.get('samesite')),
    expiresAt: expiryOf(attributes, now),
  };
}

function sameSiteOf(value: string | undefined): Cookie['sameSite'] {
  const lower = value?.toLowerCase();
  return lower === 'strict' || lower === 'none' ? lower : 'lax';
}

function expiryOf(attributes: ReadonlyMap<string, string>, now: number): number {
  const maxAge = attributes.get('max-age');
  if (maxAge !== undefined && /^-?\d+$/.test(maxAge)) return now + Number(maxAge) * 1000;
  const expires = Date.parse(attributes.get('expires') ?? '');
  return Number.isNaN(expires) ? Number.POSITIVE_INFINITY : expires;
}

function isSecure(url: URL): boolean {
  return url.protocol === 'https:' || ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname);
}

function isSameCookie(a: Cookie, b: Cookie): boolean {
  return a.name === b.name && a.host === b.host && a.path === b.path;
}

function defaultPath(url: URL): string {
  return url.pathname.slice(0, Math.max(1, url.pathname.lastIndexOf('/')));
}

function pathMatches(requested: string, path: string): boolean {
  return requested === path || requested.startsWith(path.endsWith('/') ? path : `${path}/`);
}
