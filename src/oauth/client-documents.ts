/**
 * Client ID Metadata Documents: a client whose id is the https URL of a document that describes it. Fetched through a
 * guard, cached by HTTP's rules within bounds, fetched once at a time; when a fetch fails, the last good copy serves,
 * and for well-known clients a pinned one, because some of their hosts refuse fetchers from data centres.
 */
import CachePolicy from 'http-cache-semantics';
import { z } from 'zod';
import { type Clock, DAY, MINUTE, SECOND } from '../base/clock.js';
import { ExpiringMap } from '../base/expiring-map.js';
import { parseJson } from '../base/fetch.js';
import type { ClientId } from '../base/ids.js';
import type { Log } from '../base/log.js';
import type { PublicResponse } from '../base/public-fetch.js';
import { type Client, clientName, GRANT_TYPES } from './clients.js';
import type { FetchPlaces } from './fetch-places.js';
import { PINNED_DOCUMENTS } from './pinned-documents.js';
import { refusalOfRedirectUris } from './redirect-uris.js';

/** Which hosts may describe clients. */
export type DocumentHosts = 'any' | 'off' | readonly string[];

export interface ClientDocumentsDeps {
  readonly hosts: DocumentHosts;
  readonly places: FetchPlaces;
  /** The copy of an earlier life of the broker, if it kept one. */
  readonly stored: (id: string) => Promise<Client | undefined>;
  readonly now: Clock;
  readonly log: Log;
}

const FETCH_TIMEOUT_MS = 5 * SECOND;
const MAX_DOCUMENT_BYTES = 64 * 1024;
const FRESHNESS = { leastMs: MINUTE, mostMs: 7 * DAY };
const FAILURE_MEMORY_MS = MINUTE;
/** A document may be as large as we read: these bound what a flood of them can hold of our memory. */
const CAPACITY = 250;

interface Cached {
  readonly client: Client;
  readonly freshUntil: number;
}

/** Unknown members and grant types are ignored. Both spellings of the authentication method are met in the wild. */
const document = z.object({
  client_id: z.string(),
  client_name: z.string().nullish(),
  client_uri: z.string().max(2000).nullish(),
  redirect_uris: z.array(z.string()).min(1).max(50),
  token_endpoint_auth_method: z.string().nullish(),
  token_endpoint_auth_methods_supported: z.array(z.string()).nullish(),
  jwks_uri: z.string().max(2000).nullish(),
});

/** Whether a client id names a document: https, a path, no fragment, no credentials, no dot segments. */
export function isDocumentId(id: string): boolean {
  if (!id.startsWith('https://') || id.length > 2000 || !URL.canParse(id)) return false;
  const url = new URL(id);
  // Compared with its own normal form: dot segments, an upper-case host or a default port would give one client two names.
  return (
    url.pathname !== '/' && !id.includes('#') && url.username === '' && url.password === '' && url.href === id
  );
}

/** The client a document describes, or what is wrong with it. */
export function readDocument(id: string, text: string, now: number): Client | { readonly problem: string } {
  const parsed = document.safeParse(parseJson(text));
  if (!parsed.success) return { problem: 'not a client metadata document' };
  const metadata = parsed.data;
  if (metadata.client_id !== id) return { problem: 'client_id is not the URL of the document' };
  const refusal = refusalOfRedirectUris(metadata.redirect_uris);
  if (refusal !== undefined) return { problem: `a redirect URI: ${refusal}` };
  const methods = [
    ...(metadata.token_endpoint_auth_methods_supported ?? []),
    ...(metadata.token_endpoint_auth_method ? [metadata.token_endpoint_auth_method] : []),
  ];
  const mayBePublic = methods.length === 0 || methods.includes('none');
  const hasKeys = methods.includes('private_key_jwt') && metadata.jwks_uri?.startsWith('https://') === true;
  if (!mayBePublic && !hasKeys) return { problem: 'no authentication method that is supported' };
  return {
    id: id as ClientId,
    kind: 'document',
    name: clientName(metadata.client_name) || new URL(id).host,
    redirectUris: metadata.redirect_uris,
    authMethod: mayBePublic ? 'none' : 'private_key_jwt',
    secretHash: undefined,
    jwksUri: hasKeys ? (metadata.jwks_uri ?? undefined) : undefined,
    grantTypes: GRANT_TYPES,
    uri: metadata.client_uri ?? undefined,
    createdAt: now,
  };
}

export class ClientDocuments {
  readonly #deps: ClientDocumentsDeps;
  readonly #cache: ExpiringMap<string, Cached>;
  readonly #failures: ExpiringMap<string, true>;
  readonly #fetching = new Map<string, Promise<Client | 'no_place' | undefined>>();

  constructor(deps: ClientDocumentsDeps) {
    this.#deps = deps;
    // Kept longer than it is fresh: a stale copy is better than none.
    this.#cache = new ExpiringMap({ now: deps.now, ttlMs: 30 * DAY, capacity: CAPACITY });
    this.#failures = new ExpiringMap({ now: deps.now, ttlMs: FAILURE_MEMORY_MS, capacity: CAPACITY });
  }

  /**
   * The client of that id, from the best source there is; nothing when none is left, or its host is not allowed.
   * `network` is where the request came from that names the client.
   */
  async find(id: string, network: string): Promise<Client | 'no_place' | undefined> {
    if (!this.mayDescribe(id)) return undefined;
    const cached = this.#cache.get(id);
    if (cached !== undefined && cached.freshUntil > this.#deps.now()) return cached.client;
    const fetched = await this.#fetchOnce(id, network);
    return typeof fetched === 'object' ? fetched : ((await this.#lastCopy(id)) ?? fetched);
  }

  /** Whether that id is the address of a document, at a host that may describe clients. */
  mayDescribe(id: string): boolean {
    const { hosts } = this.#deps;
    return isDocumentId(id) && (hosts === 'any' || (hosts !== 'off' && hosts.includes(new URL(id).hostname)));
  }

  #fetchOnce(id: string, network: string): Promise<Client | 'no_place' | undefined> {
    const running = this.#fetching.get(id);
    if (running !== undefined) return running;
    if (this.#failures.get(id)) return Promise.resolve(undefined);
    const begun = this.#fetch(id, network).finally(() => this.#fetching.delete(id));
    this.#fetching.set(id, begun);
    return begun;
  }

  async #fetch(id: string, network: string): Promise<Client | 'no_place' | undefined> {
    const { places, now, log } = this.#deps;
    const bounds = { timeoutMs: FETCH_TIMEOUT_MS, maxBytes: MAX_DOCUMENT_BYTES };
    const answer = await places.fetch(id, network, bounds);
    if (answer === 'no_place') return answer;
    const read = 'failure' in answer ? { problem: answer.failure } : readAnswer(id, answer, now());
    if ('problem' in read) {
      log.warn('client.document_failed', { client: id, problem: read.problem });
      this.#failures.set(id, true);
      return undefined;
    }
    this.#failures.delete(id);
    this.#cache.set(id, {
      client: read,
      freshUntil: now() + freshMs('headers' in answer ? answer : undefined),
    });
    return read;
  }

  async #lastCopy(id: string): Promise<Client | undefined> {
    const { stored, now, log } = this.#deps;
    const fetched = this.#cache.get(id)?.client;
    // Before the stored copy: that may itself come from an older pinned one.
    const pinned = fetched ?? readPinned(id, now());
    const last = pinned ?? (await stored(id));
    if (last !== undefined) {
      log.info(last.pinned ? 'client.document_pinned' : 'client.document_stale', { client: id });
    }
    return last;
  }
}

function readPinned(id: string, now: number): Client | undefined {
  const text = PINNED_DOCUMENTS.get(id);
  const client = text === undefined ? undefined : readDocument(id, text, now);
  return client === undefined || 'problem' in client ? undefined : { ...client, pinned: true };
}

function readAnswer(id: string, answer: PublicResponse, now: number): Client | { readonly problem: string } {
  if (answer.status !== 200) return { problem: `status ${answer.status}` };
  if (!/^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i.test(answer.contentType)) return { problem: 'not JSON' };
  return readDocument(id, answer.text, now);
}

/** How long HTTP lets the answer be used, within our bounds. */
function freshMs(answer: PublicResponse | undefined): number {
  if (answer === undefined) return FRESHNESS.leastMs;
  const policy = new CachePolicy(
    { url: '/', method: 'GET', headers: {} },
    { status: answer.status, headers: { ...answer.headers } },
    { shared: false },
  );
  return Math.min(FRESHNESS.mostMs, Math.max(FRESHNESS.leastMs, policy.storable() ? policy.timeToLive() : 0));
}
