/**
 * Requests of modern clients (MCP 2026-07-28): each goes to a child of its server that speaks for its grant, its
 * capabilities and its client, by the way that the era of the server asks for. Which request is modern is decided at the
 * door; what is said on the way, by `modern-bridge.ts` and `modern-relay.ts`.
 */
import type { Clock } from '../base/clock.js';
import type { Caller, GrantId, Randomness } from '../base/ids.js';
import type { Log } from '../base/log.js';
import { after, type Maybe } from '../base/maybe.js';
import type { Header, ModernRequest } from '../mcp/envelope.js';
import { because, ERRORS, type RpcError } from '../mcp/protocol.js';
import type { Exchange } from './calls.js';
import { ClientExchange } from './client-exchange.js';
import type { ConfiguredServer } from './eras.js';
import { Incidents } from './incidents.js';
import { ListeningPlaces } from './listening-places.js';
import { ModernBridge } from './modern-bridge.js';
import { ModernRelay } from './modern-relay.js';
import type { ModernCensus } from './observer.js';
import type { Sealer } from './request-state.js';
import type { Sessions } from './sessions.js';

/** A modern request, and on whose behalf it is made of what. */
export interface Asked {
  readonly caller: Caller;
  readonly server: string;
  readonly request: ModernRequest;
  /** The parameters of a tool may be repeated in headers. */
  readonly header: Header;
}

/** Answers, or returns why it does not; undefined when it is answered already, or will be. */
export interface ModernWay {
  request(asked: Asked, exchange: ClientExchange): Maybe<RpcError | undefined>;
}

export interface ModernOptions {
  readonly sessions: Sessions;
  readonly servers: readonly ConfiguredServer[];
  readonly now: Clock;
  readonly random: Randomness;
  /** Of what clients bring back to calls that asked them something. */
  readonly sealer: Sealer;
  readonly maxMessageBytes: number;
  readonly log: Log;
}

const MAX_LISTENING_PER_USER = 100;
/** It is kept, and to a modern server said again with each new child. */
const MAX_LISTEN_BYTES = 256 * 1024;
const TOO_LONG = because(ERRORS.invalidParams, `a subscription has at most ${MAX_LISTEN_BYTES} bytes`);
const MAX_NOTED = 1000;
const LONGEST_NOTE = 200;

export class Modern {
  readonly #options: ModernOptions;
  readonly #places = new ListeningPlaces(MAX_LISTENING_PER_USER);
  readonly #incidents: Incidents;
  readonly #bridge: ModernBridge;
  readonly #relay: ModernRelay;
  /** Whose version header is not what their requests say: once is enough for the log. */
  readonly #noted = new Set<GrantId>();

  constructor(options: ModernOptions) {
    this.#options = options;
    this.#incidents = new Incidents(options);
    this.#bridge = new ModernBridge(options, this.#places, this.#incidents);
    this.#relay = new ModernRelay(options, this.#places);
  }

  /**
   * Answers; what is returned is for a client that goes away before the answer. That, and the exchange, may be kept far
   * longer than the request: they must not hold it.
   */
  request(asked: Asked, http: Exchange): () => void {
    const exchange = new ClientExchange(http, this.#options.sessions, asked.server);
    if (asked.request.tolerated) this.#note(asked);
    this.#incidents.attempt(asked, exchange, () => this.#send(asked, exchange));
    return exchange.go;
  }

  #send(asked: Asked, exchange: ClientExchange): Maybe<RpcError | undefined> {
    const { bytes, method } = asked.request.message;
    if (method === 'subscriptions/listen' && bytes.length > MAX_LISTEN_BYTES) return TOO_LONG;
    return after(this.#options.sessions.eraOf(asked.caller, asked.server), (era) => {
      if (exchange.isGone) return undefined;
      if (typeof era !== 'string') return era;
      const way = era === 'modern' ? this.#relay : this.#bridge;
      return way.request(asked, exchange);
    });
  }

  /** What is there at this moment. */
  get census(): ModernCensus {
    return { parkedCalls: this.#bridge.parkedCalls, subscriptions: this.#places.size };
  }

  /** Ends what took too long. To be called about once a second. */
  tick(): void {
    this.#bridge.tick();
  }

  #note({ caller: { grantId }, request, header }: Asked): void {
    if (this.#noted.has(grantId) || this.#noted.size >= MAX_NOTED) return;
    this.#noted.add(grantId);
    const { clientInfo, version } = request.envelope;
    this.#options.log.info('client.version-header', {
      grant: grantId,
      client: clientInfo?.slice(0, LONGEST_NOTE) ?? null,
      header: header('mcp-protocol-version') ?? null,
      body: version,
    });
  }
}
