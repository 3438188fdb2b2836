/** The guarded fetch of addresses that strangers choose: which are public, when that is checked, and what bounds the answer. */
import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import type { LookupFunction } from 'node:net';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { isPublicAddress, type PublicNetwork, publicFetch } from '../../src/base/public-fetch.js';
import { resolvingTo, startDocumentHost } from '../support/document-host.js';

const BOUNDS = { timeoutMs: 5_000, maxBytes: 1024 };

const PRIVATE: Readonly<Record<string, readonly string[]>> = {
  loopback: ['127.0.0.1', '127.255.255.254', '::1'],
  unspecified: ['0.0.0.0', '0.1.2.3', '::'],
  private: ['10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', 'fc00::1', 'fd12:3456::1'],
  'link-local, where clouds serve their metadata': [
    '169.254.169.254',
    '169.254.0.1',
    'fe80::1',
    'fe80::1%eth0',
  ],
  'cloud metadata over IPv6': ['fd00:ec2::254'],
  'carrier-grade NAT': ['100.64.0.1', '100.127.255.255'],
  multicast: ['224.0.0.1', '239.255.255.250', 'ff02::1'],
  'broadcast and reserved': ['255.255.255.255', '240.0.0.1', '192.0.0.1', '192.88.99.1'],
  'documentation and benchmarks': [
    '192.0.2.1',
    '198.51.100.1',
    '203.0.113.1',
    '198.18.0.1',
    '2001:db8::1',
    '3fff::1',
    '2001:2::1',
  ],
  'IPv4 in IPv6': ['::ffff:127.0.0.1', '::ffff:8.8.8.8', '::127.0.0.1', '::7f00:1', '::ffff:0:127.0.0.1'],
  'NAT64, 6to4 and Teredo': [
    '64:ff9b::7f00:1',
    '64:ff9b:1::a00:1',
    '2002:7f00:1::',
    '2002:a00:1::1',
    '2001:0:7f00:1::1',
  ],
  'discard, site-local, unassigned': ['100::1', '100:0:0:1::1', 'fec0::1', '4000::1', '5f00::1'],
  'no address': ['', 'localhost', '8.8.8.8.8', '8.8.8.8/8', 'example.org'],
};
for (const [what, addresses] of Object.entries(PRIVATE)) {
  test(`${what}: not a public address`, () => {
    for (const address of addresses) assert.equal(isPublicAddress(address), false, address);
  });
}

test('addresses of the internet are public', () => {
  for (const address of ['8.8.8.8', '160.79.104.1', '1.1.1.1', '172.32.0.1', '2606:4700::1111', '2a00::1'])
    assert.equal(isPublicAddress(address), true, address);
});

test('no IPv4 address becomes public by being wrapped in IPv6', () => {
  fc.assert(
    fc.property(fc.ipV4(), fc.constantFrom('::', '::ffff:', '64:ff9b::', '::ffff:0:'), (address, prefix) => {
      assert.equal(isPublicAddress(prefix + address), false);
    }),
  );
});

/** Fails a test that connects at all. */
const unreachable = (addresses: readonly string[]): PublicNetwork => ({
  lookup: resolvingTo(...addresses),
  isPublic: isPublicAddress,
});

describe('a URL', () => {
  const SPELLINGS = [
    'https://127.0.0.1/',
    'https://2130706433/',
    'https://0x7f000001/',
    'https://0x7f.0.0.1/',
    'https://0177.0.0.1/',
    'https://017700000001/',
    'https://127.1/',
    'https://0/',
    'https://①②⑦.0.0.1/',
    'https://127。0。0。1/',
    'https://[::1]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[::ffff:a9fe:a9fe]/',
    'https://[0:0:0:0:0:0:7f00:1]/',
    'https://169.254.169.254/latest/meta-data/',
    'https://0xa9fea9fe/',
  ];
  for (const url of SPELLINGS) {
    test(`with a private address, however spelt, is not asked: ${url}`, async () => {
      assert.deepEqual(await publicFetch(unreachable([]))(url, BOUNDS), { failure: 'not_public' });
    });
  }

  test('that is not https is not asked', async () => {
    for (const url of [
      'http://documents.test/',
      'file:///etc/passwd',
      'ftp://documents.test/',
      'gopher://x',
      'x',
    ])
      assert.deepEqual(await publicFetch(unreachable([]))(url, BOUNDS), { failure: 'not_https' }, url);
  });
});

describe('a port other than 443', () => {
  const SERVED = ['https://documents.test:8443/a', 'https://documents.test:22/a'];

  test('is not connected to: nobody finds open ports through us', async () => {
    await using host = await startDocumentHost();
    host.serve('/a', {});
    const fetch = publicFetch(host.network, ['other.test']);
    for (const url of [
      ...SERVED,
      'https://documents.test:80/a',
      'https://8.8.8.8:22/',
      'https://x.other.test:1/',
    ])
      assert.deepEqual(await fetch(url, BOUNDS), { failure: 'other_port' }, url);
    assert.deepEqual(host.requests, []);
  });

  test('is asked at a host that the operator named', async () => {
    await using host = await startDocumentHost();
    host.serve('/a', {});
    const fetch = publicFetch(host.network, ['documents.test']);
    for (const url of [...SERVED, 'https://documents.test:443/a'])
      assert.ok('status' in (await fetch(url, BOUNDS)), url);
    assert.equal(host.requests.length, 3);
  });
});

describe('a name', () => {
  for (const addresses of [
    ['127.0.0.1'],
    ['10.0.0.1', '8.8.8.8'],
    ['8.8.8.8', '169.254.169.254'],
    ['2606:4700::1', '::1'],
    [],
  ]) {
    test(`that resolves to ${addresses.join(' and ') || 'nothing'} is not connected to`, async () => {
      assert.deepEqual(await publicFetch(unreachable(addresses))('https://documents.test/', BOUNDS), {
        failure: 'not_public',
      });
    });
  }

  test('is judged by the very answer that is connected to: a later, private one is refused (DNS rebinding)', async () => {
    await using host = await startDocumentHost();
    const url = host.serve('/a', {});
    // The server stands at a loopback address that plays a public one; the rebound answer is another loopback address.
    const answers = ['127.0.0.1', '127.0.0.2'];
    const asked: string[] = [];
    const lookup: LookupFunction = (name, options, callback) => {
      asked.push(name);
      resolvingTo(answers[asked.length - 1] ?? '127.0.0.2')(name, options, callback);
    };
    const fetch = publicFetch({ ...host.network, lookup, isPublic: (address) => address === '127.0.0.1' });
    const first = await fetch(url, BOUNDS);
    assert.ok('status' in first && first.status === 200);
    assert.deepEqual(await fetch(url, BOUNDS), { failure: 'not_public' });
    // One look-up a fetch: nothing is checked by one answer and connected to by another.
    assert.equal(asked.length, 2);
  });

  test('must be the one the certificate is for', async () => {
    await using host = await startDocumentHost();
    const url = host.serve('/a', {}).replace('documents.test', 'other.test');
    assert.deepEqual(await publicFetch(host.network)(url, BOUNDS), { failure: 'network' });
  });
});

describe('an answer', () => {
  const fetchFrom = async (listener: RequestListener, bounds: Partial<typeof BOUNDS> = {}) => {
    await using host = await startDocumentHost();
    const url = host.route('/a', listener);
    const answer = await publicFetch(host.network)(url, { ...BOUNDS, ...bounds });
    return { answer, requests: host.requests };
  };

  for (const status of [301, 302, 303, 307, 308]) {
    test(`that redirects (${status}) is a failure, wherever it leads`, async () => {
      const { answer, requests } = await fetchFrom((_request, response) => {
        response.writeHead(status, { Location: '/b' }).end();
      });
      assert.deepEqual(answer, { failure: 'redirect' });
      assert.deepEqual(requests, ['/a']);
    });
  }

  test('larger than the bound is a failure, announced or not', async () => {
    const sized = await fetchFrom((_request, response) => response.end('x'.repeat(1025)));
    assert.deepEqual(sized.answer, { failure: 'too_large' });
    const endless = await fetchFrom((_request, response) => {
      response.on('drain', () => response.write('x'.repeat(512)));
      while (response.write('x'.repeat(512)));
    });
    assert.deepEqual(endless.answer, { failure: 'too_large' });
    const full = await fetchFrom((_request, response) => response.end('x'.repeat(1024)));
    assert.ok('text' in full.answer && full.answer.text.length === 1024);
  });

  test('has to be complete in time: head and body together', async () => {
    const started = performance.now();
    const silent = await fetchFrom(() => {}, { timeoutMs: 150 });
    assert.ok('failure' in silent.answer, 'no head');
    const dripping = await fetchFrom(
      (_request, response) => {
        response.write('x');
        const drip = setInterval(() => response.write('x'), 20);
        response.on('close', () => clearInterval(drip));
      },
      { timeoutMs: 150 },
    );
    assert.ok('failure' in dripping.answer, 'a body that drips');
    const brokenOff = await fetchFrom((_request, response) => {
      response.writeHead(200, { 'Content-Length': '100' }).write('x');
      setImmediate(() => response.destroy());
    });
    assert.deepEqual(brokenOff.answer, { failure: 'network' });
    assert.ok(performance.now() - started < 10_000);
  });

  test('is asked for without cookies, credentials or a word about the user', async () => {
    let sent: NodeJS.Dict<string | string[]> = {};
    await fetchFrom((request, response) => {
      sent = request.headers;
      response.end();
    });
    assert.deepEqual(new Set(Object.keys(sent)), new Set(['accept', 'connection', 'host', 'user-agent']));
  });
});
