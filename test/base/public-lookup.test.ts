/** Names that strangers chose: what their look-ups give, and what they can hold up. */
import assert from 'node:assert/strict';
import { createHook } from 'node:async_hooks';
import { createSocket } from 'node:dgram';
import type { LookupOptions } from 'node:dns';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import type { LookupFunction } from 'node:net';
import { test } from 'node:test';
import { INTERNET } from '../../src/base/public-fetch.js';
import { publicLookup } from '../../src/base/public-lookup.js';

const A = 1;
const AAAA = 28;
const RECORDS: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  'both.test': { [A]: '08080808', [AAAA]: '26064700000000000000000000001111' },
  'four.test': { [A]: '08080808' },
  'six.test': { [AAAA]: '26064700000000000000000000001111' },
  'none.test': {},
};

/** A name server (RFC 1035 §4.1) that knows these records, and never answers about another name. */
async function startNameServer() {
  const socket = createSocket('udp4');
  const silent = new Set<string>();
  socket.on('message', (query, { port, address }) => {
    const labels: string[] = [];
    let at = 12;
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length));
      at += 1 + length;
    }
    const name = labels.join('.').toLowerCase();
    const records = RECORDS[name];
    if (records === undefined) {
      silent.add(name);
      return;
    }
    const data = records[query.readUInt16BE(at + 1)];
    const answer =
      data === undefined
        ? ''
        : `c00c${query.toString('hex', at + 1, at + 5)}00000000${(data.length / 2).toString(16).padStart(4, '0')}${data}`;
    const head = `${query.toString('hex', 0, 2)}81800001${answer === '' ? '0000' : '0001'}00000000`;
    socket.send(Buffer.from(head + query.toString('hex', 12, at + 5) + answer, 'hex'), port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const open: Resolver[] = [];
  const lookup = publicLookup(() => {
    const resolver = new Resolver({ timeout: 60_000, tries: 1 });
    resolver.setServers([`127.0.0.1:${socket.address().port}`]);
    open.push(resolver);
    return resolver;
  });
  return {
    lookup,
    silent,
    [Symbol.dispose]() {
      for (const resolver of open) resolver.cancel();
      socket.close();
    },
  };
}

function find(lookup: LookupFunction, name: string, options: LookupOptions = { all: true }) {
  return new Promise((resolve, reject) => {
    lookup(name, options, (error, found, family) =>
      error === null ? resolve(family === undefined ? found : [found, family]) : reject(error),
    );
  });
}

const FOUR = { address: '8.8.8.8', family: 4 };
const SIX = { address: '2606:4700::1111', family: 6 };

test('a name has the addresses of both families, or of the one it has records of', async () => {
  using server = await startNameServer();
  assert.deepEqual(await find(server.lookup, 'both.test'), [FOUR, SIX]);
  assert.deepEqual(await find(server.lookup, 'four.test'), [FOUR]);
  assert.deepEqual(await find(server.lookup, 'six.test'), [SIX]);
  assert.deepEqual(await find(server.lookup, 'both.test', { all: true, family: 6 }), [SIX]);
  assert.deepEqual(await find(server.lookup, 'both.test', { all: true, family: 'IPv4' }), [FOUR]);
  assert.deepEqual(await find(server.lookup, 'six.test', {}), [SIX.address, 6]);
  await assert.rejects(find(server.lookup, 'none.test'), { code: 'ENODATA' });
});

test('look-ups that are never answered keep nobody else waiting', async () => {
  using server = await startNameServer();
  const names = Array.from({ length: 20 }, (_, index) => `silent${index}.test`);
  for (const name of names) find(server.lookup, name).catch(() => undefined);
  assert.deepEqual(await find(server.lookup, 'both.test'), [FOUR, SIX]);
  assert.deepEqual(server.silent, new Set(names));
});

test("a stranger's name takes none of the threads by which the broker finds Forgejo", async () => {
  const begun: string[] = [];
  const hook = createHook({ init: (_id, type) => void begun.push(type) }).enable();
  const found = find(INTERNET.lookup, 'stranger.invalid').catch(() => undefined);
  hook.disable();
  assert.ok(begun.includes('QUERYWRAP'));
  assert.ok(!begun.includes('GETADDRINFOREQWRAP'));
  await found;
});
