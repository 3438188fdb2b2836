/** HTTP Basic as Forgejo reads it: plain base64 of `user:password`, nothing percent-decoded. */

export interface BasicCredentials {
  readonly user: string;
  readonly password: string;
}

export function parseBasic(authorization: string | undefined): BasicCredentials | 'absent' | 'unreadable' {
  const [scheme = '', encoded = ''] = (authorization ?? '').split(' ');
  if (scheme.toLowerCase() !== 'basic') return 'absent';
  const text = /^[A-Za-z0-9+/]+={0,2}$/.test(encoded) ? Buffer.from(encoded, 'base64').toString() : '';
  const colon = text.indexOf(':');
  return colon < 0 ? 'unreadable' : { user: text.slice(0, colon), password: text.slice(colon + 1) };
}
