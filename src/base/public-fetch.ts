/**
 * HTTPS GET toward an address that a stranger chose. Only public addresses, checked when the connection is made, so that
 * a name which changes its mind between check and connect (DNS rebinding) gains nothing; no redirects, bounded.
 */
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';
import type { FetchFailure, GuardedResponse } from './fetch.js';
import { publicLookup } from './public-lookup.js';

export interface PublicFetchOptions {
  readonly timeoutMs: number;
  readonly maxBytes: number;
}

/** How names become addresses, which addresses are public, whom TLS trusts. Other than the defaults only in tests. */
export interface PublicNetwork {
  readonly lookup: LookupFunction;
  readonly isPublic: (address: string) => boolean;
  readonly ca?: string;
  /** Where connections go, whatever the URL says. */
  readonly port?: number;
}

export const INTERNET: PublicNetwork = { lookup: publicLookup(), isPublic: isPublicAddress };

export interface PublicResponse extends GuardedResponse {
  /** Lower-case names, for the cache rules. */
  readonly headers: Readonly<Record<string, string>>;
}

export type PublicFailure = FetchFailure | { readonly failure: 'not_https' | 'not_public' | 'other_port' };

export type PublicFetch = (
  url: string,
  options: PublicFetchOptions,
) => Promise<PublicResponse | PublicFailure>;

/** Only at `anyPortAt` are ports other than 443 asked: elsewhere a stranger would look for open ones through us. */
export function publicFetch(
  network: PublicNetwork = INTERNET,
  anyPortAt: readonly string[] = [],
): PublicFetch {
  return async (text, { timeoutMs, maxBytes }) => {
    if (!URL.canParse(text) || new URL(text).protocol !== 'https:') return { failure: 'not_https' };
    const url = new URL(text);
    if (url.port !== '' && !anyPortAt.includes(url.hostname)) return { failure: 'other_port' };
    const host = url.hostname.replace(/^\[|\]$/g, '');
    // A literal address is connected to without a look-up.
    if (isIP(host) !== 0 && !network.isPublic(host)) return { failure: 'not_public' };
    try {
      const response = await get(url, network, AbortSignal.timeout(timeoutMs));
      const status = response.statusCode ?? 0;
      if (status >= 300 && status < 400) {
        response.destroy();
        return { failure: 'redirect' };
      }
      const body = await readCapped(response, maxBytes);
      if (body === undefined) return { failure: 'too_large' };
      const headers = Object.fromEntries(
        Object.entries(response.headers).map(([name, value]) => [name, String(value)]),
      );
      return { status, contentType: headers['content-type'] ?? '', text: body, headers };
    } catch (error) {
      return { failure: failureOf(error) };
    }
  };
}

/** The only part of IPv6 where addresses are given out (RFC 4291 §2.4); `::127.0.0.1` and the like stand elsewhere. */
const GIVEN_OUT_IPV6 = ipaddr.IPv6.parseCIDR('2000::/3');

/** Global unicast only: not loopback, private, link-local, CGNAT, multicast, documentation, nor IPv4 wrapped in IPv6. */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.parse(address);
  if (parsed instanceof ipaddr.IPv6 && !parsed.match(GIVEN_OUT_IPV6)) return false;
  return parsed.range() === 'unicast';
}

class NotPublic extends Error {}

function get(
  url: URL,
  { lookup, isPublic, ca, port }: PublicNetwork,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const checkedLookup: LookupFunction = (hostname, options, callback) => {
      lookup(hostname, { ...options, all: true }, (error, found) => {
        if (error !== null) return callback(error, []);
        const addresses = typeof found === 'string' ? [{ address: found, family: isIP(found) }] : found;
        const good = addresses.filter(({ address }) => isPublic(address));
        const [first] = good;
        // One bad address spoils the name: nobody honest mixes them.
        if (first === undefined || good.length < addresses.length)
          return callback(new NotPublic(hostname), []);
        return options.all === true ? callback(null, good) : callback(null, first.address, first.family);
      });
    };
    const sent = request(url, {
      lookup: checkedLookup,
      signal,
      agent: false,
      headers: { Accept: 'application/json', 'User-Agent': 'fjmcp-broker' },
      ...(ca === undefined ? {} : { ca }),
      ...(port === undefined ? {} : { port }),
    });
    sent.once('response', resolve).once('error', reject).end();
  });
}

async function readCapped(response: IncomingMessage, maxBytes: number): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    size += (chunk as Buffer).length;
    if (size > maxBytes) {
      response.destroy();
      return undefined;
    }
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function failureOf(error: unknown): 'not_public' | 'timeout' | 'network' {
  if (error instanceof NotPublic) return 'not_public';
  return error instanceof Error && (error.name === 'AbortError' || error.name === 'TimeoutError')
    ? 'timeout'
    : 'network';
}
