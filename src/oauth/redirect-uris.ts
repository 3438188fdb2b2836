/** Which redirect URIs may be registered, and when a requested one is a registered one. */

/** Schemes a browser would run or read itself; a redirect there is an attack on the user, not a client. */
const ACTIVE_SCHEMES = new Set([
  'javascript:',
  'data:',
  'vbscript:',
  'file:',
  'blob:',
  'about:',
  'view-source:',
  'filesystem:',
]);

const LOOPBACK = /^http:\/\/(localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?(\/[^#]*|\?[^#]*)?$/i;

export function isLoopback(uri: string): boolean {
  return LOOPBACK.test(uri);
}

/** Says why a redirect URI cannot be registered, or nothing. RFC 9700 §2.1, RFC 8252 §7. */
export function refusalOfRedirectUri(uri: string): string | undefined {
  if (uri.length > 2000) return 'it is longer than 2000 characters';
  // What browsers and servers read differently: `\` for `/`, letters beyond ASCII, white space that vanishes.
  if (!/^[A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=%]*$/.test(uri))
    return 'it holds a character that no URI may hold (RFC 3986)';
  if (!URL.canParse(uri)) return 'it is not an absolute URI';
  // `https:host/path` is a relative reference to a browser that comes from an https page.
  if (/^https?:(?!\/\/[^/])/i.test(uri)) return 'it is not an absolute URI';
  const { protocol, username, password } = new URL(uri);
  if (uri.includes('#')) return 'it has a fragment (RFC 6749)';
  if (username !== '' || password !== '') return 'it holds credentials';
  if (ACTIVE_SCHEMES.has(protocol)) return `scheme ${protocol} is never a client`;
  if (protocol === 'http:' && !isLoopback(uri)) return 'plain http is for loopback addresses only';
  return undefined;
}

/**
 * Exact string comparison (RFC 9700 §4.1.3), except that the port of an http loopback URI is ignored
 * (RFC 8252 §7.3), for `localhost` too: Claude Code and Codex register it without one.
 */
export function matchesRedirectUri(registered: string, requested: string): boolean {
  if (registered === requested) return true;
  const a = LOOPBACK.exec(registered);
  const b = LOOPBACK.exec(requested);
  if (a === null || b === null || !URL.canParse(requested)) return false;
  return a[1]?.toLowerCase() === b[1]?.toLowerCase() && (a[2] ?? '/') === (b[2] ?? '/');
}
