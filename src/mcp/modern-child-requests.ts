/** What is written to a modern child: the broker's own requests, and the envelope on those of a client. */
import { insertion } from './edits.js';
import type { Envelope } from './envelope.js';
import { lineOf, type RawJson, rawAt, splice } from './message.js';
import type { Stream } from './modern-child-listening.js';
import { META } from './protocol.js';
import { joined, objectOf, toRaw } from './raw-json.js';
import { isObjectAt, membersAt, membersOf, type Span } from './scan.js';

/** The members of `_meta` that every request carries. */
export type EnvelopeMembers = readonly (readonly [name: string, value: RawJson])[];

/** What is said of a client whatever it asks: the level of messages is a wish of one request. */
export const membersOfEnvelope = ({
  version,
  clientInfo,
  capabilities,
}: Omit<Envelope, 'logLevel'>): EnvelopeMembers => [
  [META.version, toRaw(version)],
  ...(clientInfo === undefined ? [] : [[META.clientInfo, clientInfo] as const]),
  [META.capabilities, capabilities],
];

export const discoverRequest = (id: RawJson, envelope: EnvelopeMembers): Buffer =>
  lineWith(id, 'server/discover', objectOf([['_meta', objectOf(envelope)]]));

export function listenRequest({ id, uris, lists }: Stream, envelope: EnvelopeMembers): Buffer {
  const filter = {
    ...Object.fromEntries(lists.map((name) => [name, true])),
    ...(uris.size > 0 && { resourceSubscriptions: [...uris] }),
  };
  const params = objectOf([
    ['_meta', objectOf(envelope)],
    ['notifications', toRaw(filter)],
  ]);
  return lineWith(id, 'subscriptions/listen', params);
}

/**
 * MCP 2026-07-28, basic: the fields of `_meta` that every request carries. What else stands there stays; params that are
 * no object stay too, for the child to refuse.
 */
export function withEnvelope(line: Buffer, params: Span | undefined, envelope: EnvelopeMembers): Buffer {
  if (params === undefined) {
    const end = line.lastIndexOf('}');
    return splice(line, [{ at: { start: end, end }, raw: `,"params":{"_meta":${objectOf(envelope)}}` }]);
  }
  if (!isObjectAt(line, params.start)) {
    const isNull = rawAt(line, params) === 'null';
    return isNull ? splice(line, [{ at: params, raw: `{"_meta":${objectOf(envelope)}}` }]) : line;
  }
  const scanned = membersOf(line, params.start, ['_meta']);
  if (typeof scanned === 'string') return line;
  const { _meta: meta } = scanned.members;
  if (meta === undefined)
    return splice(line, [insertion(line, params.start, `"_meta":${objectOf(envelope)}`)]);
  if (!isObjectAt(line, meta.start)) return splice(line, [{ at: meta, raw: objectOf(envelope) }]);
  // A name that the client used already must not occur twice: ours takes its place.
  const names = envelope.map(([name]) => name);
  const theirs = membersAt(line, meta, names);
  const replaced = envelope.flatMap(([name, raw]) => {
    const at = theirs[name];
    return at === undefined ? [] : [{ at, raw }];
  });
  const added = replaced.length === 0 ? envelope : envelope.filter(([name]) => theirs[name] === undefined);
  return splice(line, [insertion(line, meta.start, joined(added)), ...replaced]);
}

const lineWith = (id: RawJson, method: string, params: RawJson): Buffer =>
  lineOf(Buffer.from(`{"jsonrpc":"2.0","id":${id},"method":"${method}","params":${params}}`, 'latin1'));
