/** `subscriptions/listen` (MCP 2026-07-28, basic/patterns/subscriptions): what was asked for, and what is said on it. */
import { hasFlag } from './capabilities.js';
import { insertion } from './edits.js';
import type { ModernRequest } from './envelope.js';
import { skipSpace } from './json.js';
import {
  type Edit,
  type NotificationMessage,
  type RawJson,
  rawAt,
  splice,
  textAt,
  valueAt,
} from './message.js';
import { because, ERRORS, META, type RpcError, rawAnswer } from './protocol.js';
import { objectOf, objectsIn, toRaw } from './raw-json.js';
import { elementsOf, isArrayAt, isObjectAt, membersOf } from './scan.js';

export interface Filter {
  readonly toolsListChanged: boolean;
  readonly promptsListChanged: boolean;
  readonly resourcesListChanged: boolean;
  readonly resourceSubscriptions: readonly string[];
}

const LISTS = ['toolsListChanged', 'promptsListChanged', 'resourcesListChanged'] as const;
const MAX_RESOURCES = 1000;
const LONGEST_URI = 2048;

/** What a client wants to hear. Members that we do not know are not granted. */
export function readFilter({ message, params }: ModernRequest): Filter | { readonly fault: RpcError } {
  const { bytes } = message;
  const { notifications } = params.members;
  if (notifications === undefined || !isObjectAt(bytes, notifications.start)) {
    return fault('notifications must be an object');
  }
  const scanned = membersOf(bytes, notifications.start, [...LISTS, 'resourceSubscriptions']);
  if (typeof scanned === 'string') return fault('notifications has a member twice');
  const { members } = scanned;
  const flags = { toolsListChanged: false, promptsListChanged: false, resourcesListChanged: false };
  for (const name of LISTS) {
    const flag = members[name] && rawAt(bytes, members[name]);
    if (flag !== undefined && flag !== 'true' && flag !== 'false') return fault(`${name} must be a boolean`);
    flags[name] = flag === 'true';
  }
  const uris = readUris(bytes, members.resourceSubscriptions);
  if (uris === undefined) {
    return fault(`resourceSubscriptions must be at most ${MAX_RESOURCES} strings of ${LONGEST_URI} bytes`);
  }
  return { ...flags, resourceSubscriptions: uris };
}

const fault = (why: string) => ({ fault: because(ERRORS.invalidParams, why) });

function readUris(bytes: Buffer, span: { readonly start: number } | undefined): string[] | undefined {
  if (span === undefined) return [];
  const elements = isArrayAt(bytes, span.start) ? elementsOf(bytes, span.start, MAX_RESOURCES) : 'malformed';
  if (typeof elements === 'string') return undefined;
  const uris = elements.map((at) => (at.end - at.start <= LONGEST_URI ? textAt(bytes, at) : undefined));
  return uris.includes(undefined) ? undefined : [...new Set(uris.filter((uri) => uri !== undefined))];
}

/** Of what was asked for, what a server with these capabilities (`Greeting`) ever says. */
export function granted(filter: Filter, capabilities: RawJson): Filter {
  const { tools, prompts, resources } = objectsIn(capabilities, ['tools', 'prompts', 'resources']);
  return {
    toolsListChanged: filter.toolsListChanged && hasFlag(tools, 'listChanged'),
    promptsListChanged: filter.promptsListChanged && hasFlag(prompts, 'listChanged'),
    resourcesListChanged: filter.resourcesListChanged && hasFlag(resources, 'listChanged'),
    resourceSubscriptions: hasFlag(resources, 'subscribe') ? filter.resourceSubscriptions : [],
  };
}

/** The first message of a subscription. Its id is the id of the request that opened it. */
export function acknowledged(id: RawJson, filter: Filter): Buffer {
  const { resourceSubscriptions } = filter;
  const notifications = objectOf([
    ...LISTS.map((name) => [name, filter[name] ? 'true' : undefined] as const),
    ['resourceSubscriptions', resourceSubscriptions.length > 0 ? toRaw(resourceSubscriptions) : undefined],
  ]);
  const params = objectOf([
    ['_meta', tagOf(id)],
    ['notifications', notifications],
  ]);
  return Buffer.from(
    `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":${params}}`,
    'latin1',
  );
}

export function accepts(filter: Filter, message: NotificationMessage): boolean {
  switch (message.method) {
    case 'notifications/tools/list_changed':
      return filter.toolsListChanged;
    case 'notifications/prompts/list_changed':
      return filter.promptsListChanged;
    case 'notifications/resources/list_changed':
      return filter.resourcesListChanged;
    case 'notifications/resources/updated': {
      const span = valueAt(message.bytes, ['params', 'uri']);
      const uri = span && textAt(message.bytes, span);
      return uri !== undefined && filter.resourceSubscriptions.some((wanted) => isWithin(uri, wanted));
    }
    default:
      return false;
  }
}

/** It may be a part of what was subscribed to (MCP 2026-07-28, schema: ResourceUpdatedNotificationParams). */
const isWithin = (uri: string, wanted: string): boolean =>
  uri === wanted || uri.startsWith(wanted.endsWith('/') ? wanted : `${wanted}/`);

/** The notification as it leaves on the subscription. */
export function tagged({ bytes }: NotificationMessage, id: RawJson): Buffer {
  return splice(bytes, [tagEdit(bytes, id)]);
}

function tagEdit(bytes: Buffer, id: RawJson): Edit {
  const params = valueAt(bytes, ['params']);
  if (params === undefined) {
    return insertion(bytes, skipSpace(bytes, 0), `"params":${objectOf([['_meta', tagOf(id)]])}`);
  }
  if (!isObjectAt(bytes, params.start)) return { at: params, raw: objectOf([['_meta', tagOf(id)]]) };
  const meta = valueAt(bytes, ['params', '_meta']);
  if (meta === undefined) return insertion(bytes, params.start, `"_meta":${tagOf(id)}`);
  if (!isObjectAt(bytes, meta.start)) return { at: meta, raw: tagOf(id) };
  const own = valueAt(bytes, ['params', '_meta', META.subscriptionId]);
  return own === undefined
    ? insertion(bytes, meta.start, `"${META.subscriptionId}":${id}`)
    : { at: own, raw: id };
}

/** The answer to the request: the end of a subscription that we end (graceful closure). */
export function closed(id: RawJson, server: { readonly serverInfo: RawJson | undefined }): Buffer {
  const meta = objectOf([
    [META.subscriptionId, id],
    [META.serverInfo, server.serverInfo],
  ]);
  return rawAnswer(
    id,
    objectOf([
      ['resultType', '"complete"'],
      ['_meta', meta],
    ]),
  );
}

const tagOf = (id: RawJson): RawJson => objectOf([[META.subscriptionId, id]]);
