/**
 * What a legacy client's `initialize` becomes for a modern child: `server/discover`, and the envelope that every request
 * carries from then on; and what the child's DiscoverResult becomes for the client. Both are small, so they are parsed.
 */
import type { RawJson } from './message.js';
import { type Envelope, META, rawOf } from './meta.js';
import { LEGACY_VERSIONS, MODERN_VERSION, type RpcError } from './protocol.js';

type Json = Readonly<Record<string, unknown>>;

/** What the client said of itself. */
export interface ClientSide {
  /** The version its session speaks. */
  readonly version: string;
  /** What every request carries. */
  readonly envelope: Envelope;
  /** What it may be asked for. */
  readonly asked: ReadonlySet<Asked>;
}

export type Asked = 'elicitation.form' | 'elicitation.url' | 'sampling' | 'sampling.tools' | 'roots';

/** What the child said of itself, as far as it matters later. */
export interface ChildSide {
  readonly logging: boolean;
  readonly subscribe: boolean;
  /** Members of the filter of `subscriptions/listen`. */
  readonly listChanged: readonly string[];
}

const MAX_INITIALIZE_BYTES = 1024 * 1024;
/** MCP 2026-07-28, server/discover: an answer is capabilities and some prose. */
export const MAX_DISCOVER_BYTES = 1024 * 1024;
/** It is sent with every request: what is longer (icons can be whole pictures) is cut to what is required. */
const MAX_ENVELOPE_PART = 4096;
/** Extensions that mean the same in both eras. */
const NEUTRAL_EXTENSIONS = ['io.modelcontextprotocol/ui'];

/** Undefined when `initialize` has no usable parameters. */
export function readClient(line: Buffer): ClientSide | undefined {
  if (line.length > MAX_INITIALIZE_BYTES) return undefined;
  const params = objectOf(parse(line)?.params);
  if (params === undefined) return undefined;
  const asked = params.protocolVersion;
  const version = LEGACY_VERSIONS.find((known) => known === asked) ?? LEGACY_VERSIONS[0] ?? '';
  const given = objectOf(params.capabilities) ?? {};
  const envelope: Envelope = [
    [META.version, rawOf(MODERN_VERSION)],
    [META.clientInfo, infoOf(params.clientInfo)],
    [META.capabilities, capabilitiesOf(given)],
  ];
  const { form, url } = objectOf(given.elicitation) ?? {};
  const may: readonly (readonly [Asked, boolean])[] = [
    // MCP 2025-11-25, client/elicitation: who names no mode means forms.
    ['elicitation.form', given.elicitation !== undefined && (form !== undefined || url === undefined)],
    ['elicitation.url', url !== undefined],
    ['sampling', given.sampling !== undefined],
    ['sampling.tools', objectOf(given.sampling)?.tools !== undefined],
    ['roots', given.roots !== undefined],
  ];
  return { version, envelope, asked: new Set(may.filter(([, yes]) => yes).map(([name]) => name)) };
}

/** Of the broker itself, which may ask before there is a client. */
export const OUR_ENVELOPE: Envelope = [
  [META.version, rawOf(MODERN_VERSION)],
  [META.clientInfo, rawOf({ name: 'fjmcp-broker', version: '1' })],
  [META.capabilities, '{}'],
];

export interface Discovered {
  readonly child: ChildSide;
  /** The legacy InitializeResult. */
  readonly result: Json;
}

/** The DiscoverResult in a response, as the answer to `initialize`. */
export function readDiscovered(line: Buffer, version: string): Discovered | RpcError {
  const result = line.length > MAX_DISCOVER_BYTES ? undefined : objectOf(parse(line)?.result);
  if (result === undefined)
    return { code: -32603, message: 'The MCP server gave no usable answer to server/discover' };
  const supported = versionsIn(result);
  if (!supported.includes(MODERN_VERSION)) {
    const message = 'The MCP server speaks no protocol version that the broker knows';
    return { code: -32022, message, data: { supported, requested: MODERN_VERSION } };
  }
  const given = objectOf(result.capabilities) ?? {};
  const has = (name: string, flag: string) => objectOf(given[name])?.[flag] === true;
  const lists = ['tools', 'prompts', 'resources'].filter((name) => has(name, 'listChanged'));
  const known = ['experimental', 'logging', 'completions', 'prompts', 'resources', 'tools'];
  const { instructions } = result;
  const info = objectOf(objectOf(result._meta)?.[META.serverInfo]);
  return {
    child: {
      logging: given.logging !== undefined,
      subscribe: has('resources', 'subscribe'),
      listChanged: lists.map((name) => `${name}ListChanged`),
    },
    result: {
      protocolVersion: version,
      capabilities: { ...pick(given, known), ...neutral(given.extensions) },
      // Required here, only recommended there.
      serverInfo: { name: 'mcp-server', version: '0', ...info },
      ...(typeof instructions === 'string' && { instructions }),
    },
  };
}

/** The protocol versions that a DiscoverResult, or the `data` of a -32022, names. */
export function versionsIn({ supportedVersions, supported }: Json): string[] {
  const list: unknown = supportedVersions ?? supported;
  return Array.isArray(list) ? list.filter((item) => typeof item === 'string') : [];
}

function infoOf(value: unknown): RawJson {
  const info = objectOf(value) ?? {};
  const raw = rawOf(info);
  if (raw.length <= MAX_ENVELOPE_PART) return raw;
  return rawOf({ name: String(info.name).slice(0, 200), version: String(info.version).slice(0, 200) });
}

/** `tasks` and the list of roots that may change are gone in the new era; of extensions, those pass that mean the same. */
function capabilitiesOf(given: Json): RawJson {
  const asked = {
    ...pick(given, ['sampling', 'elicitation']),
    ...(given.roots !== undefined && { roots: {} }),
  };
  const raw = rawOf({ ...asked, ...pick(given, ['experimental']), ...neutral(given.extensions) });
  if (raw.length <= MAX_ENVELOPE_PART) return raw;
  const names = Object.keys(asked).map((name) => [name, {}]);
  return rawOf(Object.fromEntries(names));
}

function neutral(extensions: unknown): Json {
  const known = pick(objectOf(extensions) ?? {}, NEUTRAL_EXTENSIONS);
  return Object.keys(known).length === 0 ? {} : { extensions: known };
}

const pick = (from: Json, names: readonly string[]): Json =>
  Object.fromEntries(names.filter((name) => from[name] !== undefined).map((name) => [name, from[name]]));

export function objectOf(value: unknown): Json | undefined {
  return isObject(value) ? value : undefined;
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** For small texts only. */
export function parse(bytes: Buffer): Json | undefined {
  try {
    return objectOf(JSON.parse(bytes.toString()));
  } catch {
    return undefined;
  }
}
