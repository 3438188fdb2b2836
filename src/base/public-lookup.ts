/**
 * Addresses of names that strangers chose. Asked of the name servers by c-ares, on the event loop: the system's own look-up
 * (getaddrinfo) holds one of libuv's few threads until it has its answer, whoever has given up waiting, and strangers whose
 * name servers are silent would hold them all. `/etc/hosts` and search domains are not for strangers.
 */
import { Resolver } from 'node:dns/promises';
import type { LookupFunction } from 'node:net';

/** What is asked of a resolver. */
export type NameServers = Pick<Resolver, 'resolve4' | 'resolve6'>;

/** Per name server. Made for each name, so that a change of `/etc/resolv.conf` counts as it does for the system's. */
const systemNameServers = (): NameServers => new Resolver({ timeout: 2000, tries: 1 });

export function publicLookup(nameServers: () => NameServers = systemNameServers): LookupFunction {
  return (hostname, { family, all }, callback) => {
    const asked = nameServers();
    const resolve = async (of: 4 | 6) => {
      if (family === (of === 4 ? 6 : 4) || family === (of === 4 ? 'IPv6' : 'IPv4')) return [];
      const found = await (of === 4 ? asked.resolve4(hostname) : asked.resolve6(hostname));
      return found.map((address) => ({ address, family: of }));
    };
    void Promise.allSettled([resolve(4), resolve(6)]).then((answers) => {
      const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
      const [first] = found;
      // One family is enough: the other often has no record (ENODATA), or a server that cannot say so.
      if (first === undefined) {
        const failed = answers.find((answer) => answer.status === 'rejected');
        return callback(failed?.reason ?? new Error(`no address of ${hostname}`), []);
      }
      return all === true ? callback(null, found) : callback(null, first.address, first.family);
    });
  };
}
