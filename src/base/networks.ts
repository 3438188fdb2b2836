/** What an address belongs to, as a name to count by. */
import { isIPv6 } from 'node:net';

/** An IPv6 user has a whole /64. */
export function networkOf(address: string): string {
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

/**
 * Who may own the whole neighbourhood of a network: of IPv6 the /48 around its /64. One is given to anybody who asks
 * (RFC 6177), so where all share what there is in all, its 65,536 networks count as one.
 */
export function siteOf(network: string): string {
  return network.split(':').slice(0, 3).join(':');
}
