/**
 * How often one network may call the sign-in endpoints. Generous: all users of a hosted client share a few addresses,
 * so a limit that a busy office could reach would lock everybody out. MCP traffic is bounded by its sessions instead.
 */

import { BlockList, isIP, isIPv6 } from 'node:net';
import type { HttpBindings } from '@hono/node-server';
import type { Context, MiddlewareHandler } from 'hono';
import { type IRateLimiterRes, RateLimiterMemory } from 'rate-limiter-flexible';

export interface RateLimit {
  /** Requests per minute from one network: an IPv4 address or an IPv6 /64. */
  readonly perMinute: number;
}

/** By what they cost us: a registration writes a row, an authorization holds memory, a token request reads. */
export const RATE_LIMITS = {
  register: { perMinute: 60 },
  authorize: { perMinute: 240 },
  token: { perMinute: 1200 },
} as const satisfies Record<string, RateLimit>;

/** Hosted clients whose users all come from here: Anthropic's published egress. */
const SHARED_EGRESS = networks(['160.79.104.0', 21]);
const SHARED_FACTOR = 50;

/** Answers 429 with `Retry-After` to a network above the limit. */
export function rateLimit({ perMinute }: RateLimit, trustedProxies: BlockList): MiddlewareHandler {
  const limiter = new RateLimiterMemory({ points: perMinute * SHARED_FACTOR, duration: 60 });
  return async function rateLimit(c, next) {
    const address = clientAddress(c, trustedProxies);
    const cost = isIn(SHARED_EGRESS, address) ? 1 : SHARED_FACTOR;
    try {
      await limiter.consume(networkOf(address), cost);
    } catch (refused) {
      if (refused instanceof Error) throw refused;
      const seconds = Math.ceil((refused as IRateLimiterRes & { msBeforeNext: number }).msBeforeNext / 1000);
      c.header('Retry-After', String(seconds));
      c.header('Cache-Control', 'no-store');
      return c.json(
        { error: 'temporarily_unavailable', error_description: 'Too many requests. Try again later.' },
        429,
      );
    }
    return next();
  };
}

/** Who really calls: the connection's other end or, as far as trusted proxies vouch for it, what they forwarded. */
export function clientAddress(
  c: Context<{ Bindings: Partial<HttpBindings> }>,
  trustedProxies: BlockList,
): string {
  let address = plain(c.env?.incoming?.socket.remoteAddress ?? '127.0.0.1');
  const forwarded = (c.req.header('x-forwarded-for') ?? '').split(',').map((part) => plain(part.trim()));
  // From the right: each proxy appends the address it was called from.
  while (forwarded.length > 0 && isIn(trustedProxies, address)) {
    const previous = forwarded.pop();
    if (previous === undefined || isIP(previous) === 0) break;
    address = previous;
  }
  return address;
}

/** An IPv6 user has a whole /64. */
function networkOf(address: string): string {
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const gap = tail === undefined ? [] : Array.from({ length: 8 - left.length - right.length }, () => '0');
  return [...left, ...gap, ...right]
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':');
}

function plain(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, '');
}

function isIn(list: BlockList, address: string): boolean {
  return list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}

function networks(...subnets: readonly (readonly [address: string, prefix: number])[]): BlockList {
  const list = new BlockList();
  for (const [address, prefix] of subnets) list.addSubnet(address, prefix);
  return list;
}
