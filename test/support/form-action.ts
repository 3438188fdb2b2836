/** The `form-action` directive of a page, judged as a browser judges it. */

/** What the page's Content-Security-Policy lets its forms reach, redirects included. */
export function formActionOf(headers: Headers, self: URL): (url: URL) => boolean {
  const policy = headers.get('content-security-policy') ?? '';
  const directive = policy.split(/[;,]/).map((part) => part.trim().split(/\s+/));
  const sources = directive.find(([name]) => name?.toLowerCase() === 'form-action')?.slice(1);
  if (sources === undefined) return () => true;
  return (url) => sources.some((source) => sourceMatches(source, url, self));
}

function sourceMatches(source: string, url: URL, self: URL): boolean {
  if (source === "'self'") return url.origin === self.origin;
  if (source === '*') return url.protocol.startsWith('http');
  if (/^[a-z][a-z0-9+.-]*:$/i.test(source)) return url.protocol === source.toLowerCase();
  const parts = /^([a-z][a-z0-9+.-]*:)\/\/([^/:]+|\[[^\]]*\])(?::(\d+|\*))?/i.exec(source);
  if (parts === null) return false;
  const [, scheme = '', host = '', port] = parts;
  const samePort =
    port === '*' || (port ?? '') === url.port || (url.port === '' && port === defaultPort(url));
  return scheme.toLowerCase() === url.protocol && host.toLowerCase() === url.hostname && samePort;
}

function defaultPort(url: URL): string {
  return url.protocol === 'https:' ? '443' : '80';
}
