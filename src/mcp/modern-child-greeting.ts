/**
 * What a legacy client's `initialize` becomes for a modern child: `server/discover`, and the envelope that every request
 * carries from then on; and what the child's DiscoverResult becomes for the client. Both are small.
 */
import { declared, hasFlag, type Need, neutralClient, neutralServer } from './capabilities.js';
import { type RawJson, rawAt, textAt, valueAt } from './message.js';
import { type EnvelopeMembers, membersOfEnvelope } from './modern-child-requests.js';
import {
  BROKER_INFO,
  ERRORS,
  LEGACY_VERSIONS,
  META,
  MODERN_VERSION,
  NEWEST_LEGACY_VERSION,
  type RpcError,
} from './protocol.js';
import { isObject, type JsonObject, objectIn, objectOf, objectsIn, parseObject, toRaw } from './raw-json.js';
import { isObjectAt, isStringAt, membersAt } from './scan.js';

/** What the client said of itself. */
export interface ClientSide {
  /** The version its session speaks. */
  readonly version: string;
  /** What every request carries. */
  readonly envelope: EnvelopeMembers;
  /** What it may be asked for. */
  readonly declared: ReadonlySet<Need>;
}

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

/** Undefined when `initialize` has no usable parameters. */
export function readClient(line: Buffer): ClientSide | undefined {
  const params = line.length > MAX_INITIALIZE_BYTES ? undefined : valueAt(line, ['params']);
  if (params === undefined || !isObjectAt(line, params.start)) return undefined;
  const { protocolVersion } = membersAt(line, params, ['protocolVersion']);
  const asked = protocolVersion && textAt(line, protocolVersion);
  const version = LEGACY_VERSIONS.find((known) => known === asked) ?? NEWEST_LEGACY_VERSION;
  const { capabilities = '{}', clientInfo = '{}' } = objectsIn(rawAt(line, params), [
    'capabilities',
    'clientInfo',
  ]);
  const envelope = membersOfEnvelope({
    version: MODERN_VERSION,
    clientInfo: shortInfo(clientInfo),
    capabilities: shortCapabilities(neutralClient(capabilities)),
  });
  return { version, envelope, declared: declared(capabilities) };
}

/** Of the broker itself, which may ask before there is a client. */
export const OUR_ENVELOPE = membersOfEnvelope({
  version: MODERN_VERSION,
  clientInfo: BROKER_INFO,
  capabilities: '{}',
});

export interface Discovered {
  readonly child: ChildSide;
  /** The legacy InitializeResult. */
  readonly result: RawJson;
}

/** The DiscoverResult in a response, as the answer to `initialize`. */
export function readDiscovered(line: Buffer, version: string): Discovered | RpcError {
  const result = line.length > MAX_DISCOVER_BYTES ? undefined : parseObject(line)?.result;
  const at = valueAt(line, ['result']);
  if (!isObject(result) || at === undefined)
    return { ...ERRORS.internal, message: 'The MCP server gave no usable answer to server/discover' };
  const supported = versionsIn(result);
  if (!supported.includes(MODERN_VERSION)) {
    const message = 'The MCP server speaks no protocol version that the broker knows';
    return { ...ERRORS.unsupportedVersion, message, data: { supported, requested: MODERN_VERSION } };
  }
  const { capabilities = '{}' } = objectsIn(rawAt(line, at), ['capabilities']);
  const offered = objectsIn(capabilities, ['logging', 'tools', 'prompts', 'resources']);
  const instructions = valueAt(line, ['result', 'instructions']);
  const info = valueAt(line, ['result', '_meta', META.serverInfo]);
  const lists = (['tools', 'prompts', 'resources'] as const).filter((name) =>
    hasFlag(offered[name], 'listChanged'),
  );
  return {
    child: {
      logging: offered.logging !== undefined,
      subscribe: hasFlag(offered.resources, 'subscribe'),
      listChanged: lists.map((name) => `${name}ListChanged`),
    },
    result: objectOf([
      ['protocolVersion', `"${version}"`],
      ['capabilities', neutralServer(capabilities)],
      // Required here, only recommended there.
      ['serverInfo', toRaw({ name: 'mcp-server', version: '0', ...objectIn(info && rawAt(line, info)) })],
      [
        'instructions',
        instructions && isStringAt(line, instructions.start) ? rawAt(line, instructions) : undefined,
      ],
    ]),
  };
}

/** The protocol versions that a DiscoverResult, or the `data` of a -32022, names. */
export function versionsIn({ supportedVersions, supported }: JsonObject): string[] {
  const list: unknown = supportedVersions ?? supported;
  return Array.isArray(list) ? list.filter((item) => typeof item === 'string') : [];
}

function shortInfo(clientInfo: RawJson): RawJson {
  if (clientInfo.length <= MAX_ENVELOPE_PART) return clientInfo;
  const { name, version } = objectIn(clientInfo) ?? {};
  return toRaw({ name: shortText(name, 'mcp-client'), version: shortText(version, '0') });
}

const shortText = (value: unknown, otherwise: string): string =>
  typeof value === 'string' ? value.slice(0, 200) : otherwise;

function shortCapabilities(capabilities: RawJson): RawJson {
  if (capabilities.length <= MAX_ENVELOPE_PART) return capabilities;
  const asked = objectsIn(capabilities, ['sampling', 'elicitation', 'roots']);
  return objectOf(Object.keys(asked).map((name) => [name, '{}']));
}
