/**
 * To which era a posted message belongs, and whether a modern one is what its headers say (MCP 2026-07-28,
 * basic/transports/streamable-http: request metadata). Pure, and decided once: nothing deeper asks again. It does not
 * look at the headers of tool parameters (`param-headers.ts`), nor at what the server behind can do.
 */
import { decodeHeader } from './header-values.js';
import { asLogLevel, type LogLevel } from './log-levels.js';
import {
  type Message,
  type NotificationMessage,
  type PARAMS,
  type RawJson,
  type RequestMessage,
  rawAt,
} from './message.js';
import { MODERN_METHODS, type ModernMethod } from './methods.js';
import {
  because,
  ERRORS,
  LEGACY_VERSIONS,
  META,
  MODERN_VERSION,
  MODERN_VERSIONS,
  type RpcError,
} from './protocol.js';
import { isObjectAt, isTextAt, type MemberSpan, type ScannedPlaces, type Span, textAt } from './scan.js';

/** What a modern request says of its client. */
export interface Envelope {
  readonly version: string;
  /** An object. */
  readonly clientInfo: RawJson | undefined;
  /** An object. */
  readonly capabilities: RawJson;
  readonly logLevel: LogLevel | undefined;
}

export interface ModernRequest {
  readonly message: RequestMessage;
  readonly about: ModernMethod;
  readonly envelope: Envelope;
  /** Of the tool or prompt, or the resource's URI, or the task's id. */
  readonly name: string | undefined;
  readonly params: ModernParams;
  /** Whether the version header named a legacy version: worth a line in the log. */
  readonly tolerated: boolean;
}

/** Where `params` stands, and the members of it that mean something to a broker. */
export interface ModernParams {
  readonly at: Span;
  readonly members: { readonly [N in (typeof PARAMS)[number]]: MemberSpan | undefined };
  /** Of `_meta`, what belongs to the envelope; undefined for what is not there. */
  readonly envelope: readonly (MemberSpan | undefined)[];
}

export type Classified =
  | { readonly is: 'legacy' }
  | { readonly is: 'modern request'; readonly request: ModernRequest }
  /** There is none that means anything over HTTP; it is accepted, and that is all. */
  | { readonly is: 'modern notification'; readonly notification: NotificationMessage }
  | { readonly is: 'refused'; readonly status: 400 | 404; readonly error: RpcError };

/** A header's value without surrounding white space (RFC 9110, 5.5). Names are given in lower case. */
export type Header = (name: string) => string | undefined;

/** It is kept, and compared, as long as the child that it is for. */
const MAX_ENVELOPE_BYTES = 64 * 1024;
const LONGEST_VERSION = 64;

const LEGACY: Classified = { is: 'legacy' };

export function classify(message: Message, header: Header): Classified {
  const version = header('mcp-protocol-version');
  if (message.kind === 'request' && message.version !== undefined)
    return readRequest(message, version, header);
  if (version === undefined || !isModernVersion(version)) return LEGACY;
  switch (message.kind) {
    case 'request':
      return readRequest(message, version, header);
    case 'notification':
      return MODERN_VERSIONS.includes(version)
        ? { is: 'modern notification', notification: message }
        : unsupported(version);
    case 'response':
      return refused(because(ERRORS.invalid, 'a client answers inside the parameters of its next request'));
  }
}

/** A version we do not know is modern if it came later. What is no date is for the legacy door to refuse. */
export const isModernVersion = (version: string): boolean =>
  version === MODERN_VERSION || (/^\d{4}-\d{2}-\d{2}$/.test(version) && version > MODERN_VERSION);

/** The order of the checks is the order in which a client is told what is wrong. */
function readRequest(message: RequestMessage, version: string | undefined, header: Header): Classified {
  const { bytes, method, params: at, places } = message;
  if (at === undefined || places.params === undefined) return missing('_meta');
  if (places.params.repeated !== 0) return refused(because(ERRORS.invalid, TWICE));
  if (places.meta === undefined) return missing('_meta');
  if (places.meta.repeated !== 0) return refused(because(ERRORS.invalid, TWICE));
  const own = places.meta.places.slice(1);
  const envelope = readEnvelope(bytes, own);
  if ('is' in envelope) return envelope;
  const tolerated = version !== envelope.version;
  if (tolerated && !(isLegacy(version) && envelope.version === MODERN_VERSION)) {
    return mismatch('MCP-Protocol-Version is not the version in _meta');
  }
  if (!MODERN_VERSIONS.includes(envelope.version)) return unsupported(envelope.version);
  if (header('mcp-method') !== method) return mismatch('Mcp-Method is not the method of the body');
  const about = MODERN_METHODS.get(method);
  const members = membersIn(places.params);
  const name = about?.named && readName(bytes, members[about.named], about.named, header('mcp-name'));
  if (typeof name === 'object') return name;
  if (about === undefined) return { is: 'refused', status: 404, error: ERRORS.unknownMethod };
  return {
    is: 'modern request',
    request: {
      message,
      about,
      envelope,
      name,
      params: { at, members, envelope: own },
      tolerated,
    },
  };
}

const TWICE = 'a member that must be unique occurs twice';
const isLegacy = (version: string | undefined) => version !== undefined && LEGACY_VERSIONS.includes(version);

/** In the order of `PARAMS`. */
function membersIn({ places }: ScannedPlaces): ModernParams['members'] {
  const [_meta, name, uri, taskId, args, inputResponses, requestState, notifications] = places;
  return { _meta, name, uri, taskId, arguments: args, inputResponses, requestState, notifications };
}

/** `members` in the order of `OWN_META`, without the first. */
function readEnvelope(bytes: Buffer, members: ScannedPlaces['places']): Envelope | Refused {
  const [version, clientInfo, capabilities, logLevel] = members;
  const text = version && versionAt(bytes, version);
  if (text === undefined) return missing(META.version);
  if (capabilities === undefined || !isObjectAt(bytes, capabilities.start)) return missing(META.capabilities);
  if (clientInfo !== undefined && !isObjectAt(bytes, clientInfo.start)) return missing(META.clientInfo);
  if (lengthOf(capabilities) + lengthOf(clientInfo) > MAX_ENVELOPE_BYTES) {
    return refused(
      because(ERRORS.invalidParams, `what _meta says of a client has at most ${MAX_ENVELOPE_BYTES} bytes`),
    );
  }
  const level = logLevel && asLogLevel(textAt(bytes, logLevel));
  if (logLevel !== undefined && level === undefined) return missing(META.logLevel);
  return {
    version: text,
    clientInfo: clientInfo && rawAt(bytes, clientInfo),
    capabilities: rawAt(bytes, capabilities),
    logLevel: level,
  };
}

/** The usual one without making a string of it. */
function versionAt(bytes: Buffer, span: Span): string | undefined {
  if (isTextAt(bytes, span, MODERN_VERSION)) return MODERN_VERSION;
  return lengthOf(span) <= LONGEST_VERSION ? textAt(bytes, span) : undefined;
}

const lengthOf = (span: Span | undefined) => (span === undefined ? 0 : span.end - span.start);

function readName(
  bytes: Buffer,
  span: Span | undefined,
  named: string,
  given: string | undefined,
): string | Refused {
  if (given === undefined) return mismatch('Mcp-Name is missing');
  const name = span && textAt(bytes, span);
  if (name === undefined) return refused(because(ERRORS.invalidParams, `params.${named} must be a string`));
  return decodeHeader(given) === name ? name : mismatch(`Mcp-Name is not params.${named} of the body`);
}

type Refused = Extract<Classified, { is: 'refused' }>;

const refused = (error: RpcError): Refused => ({ is: 'refused', status: 400, error });
const mismatch = (why: string) => refused(because(ERRORS.headerMismatch, why));
const missing = (name: string) =>
  refused(because(ERRORS.invalidParams, `${name} is missing, or not what it must be`));
const unsupported = (requested: string) =>
  refused({ ...ERRORS.unsupportedVersion, data: { supported: MODERN_VERSIONS, requested } });
