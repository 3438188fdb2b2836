/** Redirect URIs as Forgejo compares and extends them: by text, not as parsed URLs. */
import { isIPv4 } from 'node:net';
import type { Application } from './rows.js';

/** Case and one final slash do not matter, anywhere in the URI; only a public client's loopback port is free. */
export function isRegistered(application: Application, uri: string): boolean {
  if (uri === '') return false;
  const registered = new Set(application.redirectUris.map(fold));
  if (registered.has(fold(uri))) return true;
  const portless = application.confidential ? undefined : withoutLoopbackPort(uri);
  return portless !== undefined && registered.has(fold(portless));
}

/** Adds `parameters` to the query the URI already has; the keys come out in alphabetical order. */
export function withQuery(uri: string, parameters: Readonly<Record<string, string>>): string {
  const [, base = uri, query = '', fragment = ''] = /^([^?#]*)(?:\?([^#]*))?(#.*)?$/.exec(uri) ?? [];
  const merged = new URLSearchParams(query);
  for (const [name, value] of Object.entries(parameters)) merged.set(name, value);
  merged.sort();
  return `${base}?${merged}${fragment}`;
}

function fold(uri: string): string {
  return uri.toUpperCase().replace(/\/$/, '');
}

/** `localhost` and https get no such treatment, and an IPv6 address loses its brackets along with the port. */
function withoutLoopbackPort(uri: string): string | undefined {
  const match = /^http:\/\/(?:\[([^\]]*)\]|([^/:?#]*)):\d+(.*)$/i.exec(uri);
  const host = match?.[1] ?? match?.[2] ?? '';
  const isLoopback = host === '::1' || (isIPv4(host) && host.startsWith('127.'));
  return isLoopback ? `http://${host}${match?.[3] ?? ''}` : undefined;
}
