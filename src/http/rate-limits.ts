/**
 * How often one network may call the sign-in endpoints. Generous: all users of a hosted client share a few addresses,
 * so a limit that a busy office could reach would lock everybody out. MCP traffic is bounded by its sessions instead.
 */

import type { IncomingMessage } from 'node:http';
import { BlockList, isIP, isIPv6 } from 'node:net';
import type { HttpBindings } from '@hono/node-server';
import type { Context, MiddlewareHandler } from 'hono';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import type { Clock } from '../base/clock.js';
import type { Log } from '../base/log.js';
import { networkOf } from '../base/networks.js';
import { createRefusalCount } from './refusals.js';

export interface RateLimit {
  /** Requests per minute of one caller: before authentication an IPv4 address or an IPv6 /64. */
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

/** What one client, or one grant of a client that many installations share, may ask at the token endpoint in a minute. */
export const CLIENT_LIMIT: RateLimit = { perMinute: 300 };

/** Takes `cost` from the minute of `key`; says how many seconds to wait when nothing is left. */
export type Budget = (key: string, cost?: number) => Promise<number | undefined>;

export function createBudget({ perMinute }: RateLimit): Budget {
  const limiter = new RateLimiterMemory({ points: perMinute, duration: 60 });
  return async (key, cost = 1) => {
    try {
      await limiter.consume(key, cost);
      return undefined;
    } catch (refused) {
      if (!(refused instanceof RateLimiterRes)) throw refused;
      return Math.ceil(refused.msBeforeNext / 1000);
    }
  };
}

/** For what passes by itself, as a busy store or a lack of places does. */
export const RETRY_SECONDS = 5;

export type RefuseTooMany = (c: Context, seconds: number) => Response | Promise<Response>;

/** 429 for programs. */
export const tooManyRequests: RefuseTooMany = (c, seconds) => {
  c.header('Retry-After', String(seconds));
  c.header('Cache-Control', 'no-store');
  const error_description = 'Too many requests. Try again later.';
  return c.json({ error: 'temporarily_unavailable', error_description }, 429);
};

/** Tells the operator who is refused, in few lines however often. */
export function createLimitLog({
  now,
  log,
  trustedProxies,
}: {
  readonly now: Clock;
  readonly log: Log;
  readonly trustedProxies: BlockList;
}): (c: Context) => void {
  const count = createRefusalCount(now);
  return (c) => {
    const { path } = c.req;
    const told = count(path, callerNetwork(c, trustedProxies));
    if (told !== undefined) log.warn('request.limited', { path, ...told });
  };
}

/** Refuses a network above the limit, before anything is known of the caller. */
export function rateLimit(
  { perMinute }: RateLimit,
  trustedProxies: BlockList,
  refuse: RefuseTooMany = tooManyRequests,
): MiddlewareHandler {
  const take = createBudget({ perMinute: perMinute * SHARED_FACTOR });
  return async function rateLimit(c, next) {
    const address = clientAddress(c, trustedProxies);
    const seconds = await take(networkOf(address), isIn(SHARED_EGRESS, address) ? 1 : SHARED_FACTOR);
    return seconds === undefined ? next() : refuse(c, seconds);
  };
}

/** Who really calls: the connection's other end or, as far as trusted proxies vouch for it, what they forwarded. */
export function clientAddress(
  c: Context<{ Bindings: Partial<HttpBindings> }>,
  trustedProxies: BlockList,
): string {
  return addressOf(c.env?.incoming?.socket.remoteAddress, c.req.header('x-forwarded-for'), trustedProxies);
}

function addressOf(remote = '127.0.0.1', forwardedFor = '', trustedProxies: BlockList): string {
  let address = plain(remote);
  const forwarded = forwardedFor.split(',').map((part) => plain(part.trim()));
  // From the right: each proxy appends the address it was called from.
  while (forwarded.length > 0 && isIn(trustedProxies, address)) {
    const previous = forwarded.pop();
    if (previous === undefined || isIP(previous) === 0) break;
    address = previous;
  }
  return address;
}

/** A name for the network of whoever calls: what one caller is, before anything is known of it. */
export function callerNetwork(c: Context, trustedProxies: BlockList): string {
  return networkOf(clientAddress(c, trustedProxies));
}

export function networkOfCaller({ headers, socket }: IncomingMessage, trustedProxies: BlockList): string {
  const forwardedFor = headers['x-forwarded-for'];
  return networkOf(addressOf(socket.remoteAddress, forwardedFor?.toString(), trustedProxies));
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
