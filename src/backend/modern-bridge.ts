/**
 * Modern requests for a legacy server: what it is asked loses what its era does not know, and what it says gains what the
 * other demands. Its children are initialized by the broker, with what the requests say of their client. To whom a child
 * speaks, `modern-lane.ts` knows; when a request may go to one, `modern-client.ts`.
 */
import { SECOND } from '../base/clock.js';
import { ExpiringMap } from '../base/expiring-map.js';
import { type GrantId, sha256 } from '../base/ids.js';
import { after, type Maybe } from '../base/maybe.js';
import { discoverResult, type Greeting, readGreeting } from '../mcp/legacy-to-modern.js';
import { rawAt } from '../mcp/message.js';
import { initializeFor } from '../mcp/modern-to-legacy.js';
import { checkParamHeaders } from '../mcp/param-headers.js';
import { BROKER_INFO, ERRORS, type RpcError, rawAnswer } from '../mcp/protocol.js';
import { granted, readFilter } from '../mcp/subscriptions.js';
import { refuse } from './answers.js';
import type { ClientExchange } from './client-exchange.js';
import * as failures from './failures.js';
import { KNOWN, MAX_KNOWN_BYTES } from './handshake.js';
import type { Incidents } from './incidents.js';
import type { ListeningPlaces } from './listening-places.js';
import type { Asked, ModernOptions, ModernWay } from './modern.js';
import { ModernClient } from './modern-client.js';
import { ModernExchange } from './modern-exchange.js';
import type { Lane } from './modern-lane.js';
import { ParkedCalls } from './parked-calls.js';

const BROKER = { id: '"fjmcp-broker"', clientInfo: BROKER_INFO };
/** Resources, of all subscriptions that share children: each new child is told them. */
const MAX_WATCHED = 1000;

export class ModernBridge implements ModernWay {
  readonly #options: ModernOptions;
  /** Those that have a child, or a session for one: of one grant they are few. */
  readonly #clients = new Map<GrantId, ModernClient[]>();
  /** How servers greet, by user: a server may greet each by name. A probe then costs no process. */
  readonly #greetings: ExpiringMap<string, Greeting>;
  /** Servers that asked something when nobody could tell which request it was about. */
  readonly #interactive = new Set<string>();
  readonly #places: ListeningPlaces;
  readonly #incidents: Incidents;
  readonly #parked: ParkedCalls;

  constructor(options: ModernOptions, places: ListeningPlaces, incidents: Incidents) {
    this.#options = options;
    this.#places = places;
    this.#incidents = incidents;
    this.#parked = new ParkedCalls({
      ...options,
      maxBytesPerUser: 4 * options.maxMessageBytes,
    });
    this.#greetings = new ExpiringMap({ now: options.now, ...KNOWN });
  }

  request(asked: Asked, exchange: ClientExchange): Maybe<RpcError | undefined> {
    const { message, about } = asked.request;
    if (about.extension !== undefined) return ERRORS.unknownMethod;
    switch (message.method) {
      case 'server/discover':
        return this.#discover(asked, exchange);
      case 'subscriptions/listen':
        return this.#listen(asked, exchange);
      default:
        return this.#call(asked, exchange);
    }
  }

  #discover(asked: Asked, exchange: ClientExchange): Maybe<RpcError | undefined> {
    const { message } = asked.request;
    return after(this.#greetingFor(asked), (greeting) => {
      if ('code' in greeting) return greeting;
      const result = discoverResult(greeting, this.#ttlMsOf(asked));
      void exchange.end(rawAnswer(rawAt(message.bytes, message.id), result));
      return undefined;
    });
  }

  #call(asked: Asked, exchange: ClientExchange): Maybe<RpcError | undefined> {
    // A retry that is refused is not worth a client.
    const retry = this.#parked.find(asked);
    if (typeof retry === 'object') return retry.fault;
    const client = this.#clientOf(asked);
    return after(headerFault(client, asked), (fault) => {
      if (exchange.isGone || fault !== undefined) return fault;
      if (retry === 'a new call') this.#begin(asked, exchange, client);
      else exchange.leaveWithClient(retry(exchange));
      return undefined;
    });
  }

  #begin(asked: Asked, exchange: ClientExchange, known: ModernClient): void {
    // Another one than a moment ago, if the children of that one have ended.
    const client = known.isOver ? this.#clientOf(asked) : known;
    if (asked.request.about.mayAsk !== true || !client.isInteractive) {
      this.#carry(asked, exchange, client, client.first);
      return;
    }
    const start = (lane: Lane) =>
      this.#incidents.attempt(asked, exchange, () => void this.#carry(asked, exchange, client, lane));
    const callOff = client.whenAlone(start, (error) => refuse(asked.request.message, exchange, error));
    if (callOff !== undefined) exchange.leaveWithClient(callOff);
  }

  get parkedCalls(): number {
    return this.#parked.size;
  }

  /** Ends what nobody came back to, and what waited too long. */
  tick(): void {
    this.#parked.tick();
    const now = this.#options.now();
    for (const clients of this.#clients.values()) for (const client of clients) client.tick(now);
  }

  #carry(asked: Asked, exchange: ClientExchange, client: ModernClient, lane: Lane): void {
    const { request } = asked;
    const { message } = request;
    const heard =
      message.method === 'tools/list'
        ? (answer: Buffer) => client.toolHeaders.overhear(message, answer)
        : undefined;
    const leave =
      request.about.mayAsk === true
        ? this.#parked.begin(asked, exchange, lane)
        : lane.carry(new ModernExchange(request, exchange, lane, heard));
    exchange.leaveWithClient(leave);
  }

  #listen(asked: Asked, exchange: ClientExchange): Maybe<RpcError | undefined> {
    const { message } = asked.request;
    const filter = readFilter(asked.request);
    if ('fault' in filter) return filter.fault;
    return after(this.#greetingFor(asked), (greeting) => {
      if (exchange.isGone) return undefined;
      if ('code' in greeting) return greeting;
      const { serverInfo, capabilities } = greeting;
      const granting = granted(filter, capabilities);
      const client = this.#clientOf(asked);
      const { session } = client.first;
      const watched = new Set([...client.listeners.resources, ...granting.resourceSubscriptions]);
      if (watched.size > MAX_WATCHED) return failures.tooManyResources;
      const giveBack = this.#places.take(asked.caller.userId);
      if (giveBack === undefined) return failures.tooManyListeners;
      const over = () => {
        giveBack();
        client.watch();
      };
      const id = rawAt(message.bytes, message.id);
      exchange.leaveWithClient(client.listeners.add({ id, filter: granting, exchange, serverInfo, over }));
      // Nothing changes that nobody does, but a resource may.
      if (granting.resourceSubscriptions.length > 0) void session?.greeting();
      client.watch();
      return undefined;
    });
  }

  #greetingFor(asked: Asked): Maybe<Greeting | RpcError> {
    const known = this.#greetings.get(nameOf(asked));
    if (known !== undefined) return known;
    const { session } = this.#clientOf(asked).first;
    if (session === undefined) return failures.sessionClosed;
    return session
      .greeting()
      .then((answer) => ('code' in answer ? answer : (readGreeting(answer) ?? failures.handshakeRefused)));
  }

  /** A client outlives its first request, which none of its functions may hold. */
  #clientOf(asked: Asked): ModernClient {
    const { caller, server } = asked;
    const { envelope } = asked.request;
    const { grantId } = caller;
    const known = this.#clients.get(grantId)?.find((client) => client.is(server, envelope));
    if (known !== undefined) return known;
    const { clientInfo = '', capabilities } = envelope;
    const name = nameOf(asked);
    const client: ModernClient = new ModernClient({
      sessions: this.#options.sessions,
      now: this.#options.now,
      caller,
      server,
      envelope,
      key: sha256(`${clientInfo}\n${capabilities}`),
      initialize: initializeFor(envelope, BROKER),
      ttlMs: this.#ttlMsOf(asked),
      isInteractive: () => this.#interactive.has(server),
      puzzled: () => this.#puzzled(server),
      greeted: (answer) => this.#greeted(name, answer),
      opened: () => void this.#clients.set(grantId, [...(this.#clients.get(grantId) ?? []), client]),
      closed: () => {
        const others = this.#clients.get(grantId)?.filter((other) => other !== client) ?? [];
        if (others.length > 0) this.#clients.set(grantId, others);
        else this.#clients.delete(grantId);
      },
    });
    return client;
  }

  #ttlMsOf({ server }: Asked): number {
    const entry = this.#options.servers.find(({ name }) => name === server);
    return (entry?.ttlSeconds ?? 0) * SECOND;
  }

  #greeted(name: string, answer: Buffer): void {
    const greeting = answer.length > MAX_KNOWN_BYTES ? undefined : readGreeting(answer);
    if (greeting === undefined) this.#greetings.delete(name);
    else this.#greetings.set(name, greeting);
  }

  #puzzled(server: string): void {
    if (this.#interactive.has(server)) return;
    this.#interactive.add(server);
    this.#options.log.info('server.interactive', { server });
  }
}

function headerFault(client: ModernClient, { request, header }: Asked): Maybe<RpcError | undefined> {
  if (request.message.method !== 'tools/call' || request.name === undefined) return undefined;
  return after(client.toolHeaders.of(request.name), (expected) =>
    checkParamHeaders(expected, request, header),
  );
}

const nameOf = ({ caller: { userId }, server }: Pick<Asked, 'caller' | 'server'>): string =>
  `${userId} ${server}`;
