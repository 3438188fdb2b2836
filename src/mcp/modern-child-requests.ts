/** What is written to a modern child: the broker's own requests, and the envelope on those of a client. */
import { type RawJson, rawAt, splice } from './message.js';
import { type Envelope, insertion, members, metaOf, rawOf } from './meta.js';
import type { Stream } from './modern-child-listening.js';
import { isObjectAt, membersOf, type Span } from './scan.js';

export const discoverRequest = (id: RawJson, envelope: Envelope): Buffer =>
  lineWith(id, 'server/discover', `{"_meta":{${members(envelope)}}}`);

export function listenRequest({ id, uris, lists }: Stream, envelope: Envelope): Buffer {
  const filter = {
    ...Object.fromEntries(lists.map((name) => [name, true])),
    ...(uris.size > 0 && { resourceSubscriptions: [...uris] }),
  };
  const params = `{"_meta":{${members(envelope)}},"notifications":${rawOf(filter)}}`;
  return lineWith(id, 'subscriptions/listen', params);
}

/**
 * MCP 2026-07-28, basic: the fields of `_meta` that every request carries. What else stands there stays; params that are
 * no object stay too, for the child to refuse.
 */
export function withEnvelope(line: Buffer, params: Span | undefined, envelope: Envelope): Buffer {
  if (params === undefined) {
    const end = line.lastIndexOf('}');
    return splice(line, [{ at: { start: end, end }, raw: `,"params":{"_meta":{${members(envelope)}}}` }]);
  }
  if (!isObjectAt(line, params.start)) {
    const isNull = rawAt(line, params) === 'null';
    return isNull ? splice(line, [{ at: params, raw: `{"_meta":{${members(envelope)}}}` }]) : line;
  }
  const scanned = membersOf(line, params.start, ['_meta']);
  if (typeof scanned === 'string') return line;
  const { _meta: meta } = scanned.members;
  if (meta === undefined)
    return splice(line, [insertion(line, params.start, `"_meta":{${members(envelope)}}`)]);
  if (!isObjectAt(line, meta.start)) return splice(line, [{ at: meta, raw: `{${members(envelope)}}` }]);
  // A name that the client used already must not occur twice: ours takes its place.
  const names = envelope.map(([name]) => name);
  const theirs = metaOf(line, meta, names);
  const replaced = envelope.flatMap(([name, raw]) => {
    const at = theirs[name];
    return at === undefined ? [] : [{ at, raw }];
  });
  const added = replaced.length === 0 ? envelope : envelope.filter(([name]) => theirs[name] === undefined);
  return splice(line, [insertion(line, meta.start, members(added)), ...replaced]);
}

const lineWith = (id: RawJson, method: string, params: RawJson): Buffer =>
  Buffer.from(`{"jsonrpc":"2.0","id":${id},"method":"${method}","params":${params}}\n`, 'latin1');
