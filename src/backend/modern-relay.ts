/**
 * Modern clients on modern servers. Each grant has one child of a server; it is told what its clients say in their own
 * words, and they get its results as they are (`mcp/relayed-results.ts` has the exceptions). Kept for a client are its
 * subscriptions, and how the server answered `server/discover`: a client that only looks costs no process.
 */
import { after, type Maybe } from '../base/maybe.js';
import type { ModernRequest } from '../mcp/envelope.js';
import { rawAt } from '../mcp/message.js';
import { checkParamHeaders } from '../mcp/param-headers.js';
import type { RpcError } from '../mcp/protocol.js';
import { keptFor } from '../mcp/relayed-results.js';
import type { ClientExchange } from './client-exchange.js';
import * as failures from './failures.js';
import type { ListeningPlaces } from './listening-places.js';
import type { Asked, ModernOptions, ModernWay } from './modern.js';
import { RelayEar } from './relay-ear.js';
import { RelayedCall } from './relayed-call.js';

export class ModernRelay implements ModernWay {
  readonly #options: ModernOptions;
  /** By grant and server. */
  readonly #ears = new Map<string, RelayEar>();
  readonly #places: ListeningPlaces;

  constructor(options: ModernOptions, places: ListeningPlaces) {
    this.#options = options;
    this.#places = places;
  }

  request(asked: Asked, exchange: ClientExchange): Maybe<RpcError | undefined> {
    const { request } = asked;
    const ear = this.#earOf(asked);
    switch (request.message.method) {
      case 'server/discover':
        return this.#discover(request, exchange, ear);
      case 'subscriptions/listen':
        return this.#listen(asked, exchange, ear);
      case 'tools/list':
        return this.#call(request, exchange, ear, (answer) => ear.listed(request, answer));
      case 'tools/call':
        return this.#callTool(asked, exchange, ear);
      default:
        return this.#call(request, exchange, ear);
    }
  }

  #call(
    request: ModernRequest,
    exchange: ClientExchange,
    ear: RelayEar,
    heard?: (answer: Buffer) => void,
  ): undefined {
    exchange.leaveWithClient(ear.call(request, new RelayedCall(exchange, request, heard)));
  }

  #discover(request: ModernRequest, exchange: ClientExchange, ear: RelayEar): undefined {
    const { message, envelope } = request;
    const known = ear.known(envelope);
    if (known === undefined)
      return this.#call(request, exchange, ear, (answer) => ear.remember(envelope, answer));
    void exchange.end(keptFor(rawAt(message.bytes, message.id), known));
  }

  #listen({ caller, request }: Asked, exchange: ClientExchange, ear: RelayEar): RpcError | undefined {
    const giveBack = this.#places.take(caller.userId);
    if (giveBack === undefined) return failures.tooManyListeners;
    exchange.leaveWithClient(
      ear.listen(request, {
        streams: exchange.streams,
        send: (notification) => exchange.send(notification),
        end: (answer, retryAfterSeconds, outcome) => {
          giveBack();
          return exchange.end(answer, retryAfterSeconds, outcome);
        },
      }),
    );
    return undefined;
  }

  /** What the headers of a call say of its arguments is checked here: on stdio there are no headers. */
  #callTool(
    { request, header }: Asked,
    exchange: ClientExchange,
    ear: RelayEar,
  ): Maybe<RpcError | undefined> {
    return after(ear.headersOf(request), (expected) => {
      if (exchange.isGone) return undefined;
      const fault = checkParamHeaders(expected, request, header);
      if (fault === undefined) this.#call(request, exchange, ear);
      return fault;
    });
  }

  #earOf({ caller, server }: Asked): RelayEar {
    const name = `${caller.grantId} ${server}`;
    const known = this.#ears.get(name);
    if (known !== undefined) return known;
    const ear = new RelayEar(() => this.#ears.delete(name));
    this.#ears.set(name, ear);
    const { sessions } = this.#options;
    return ear.attach(
      sessions.shared('modern', caller, server, (host) => ({ greeting: 'none', ear: ear.at(host) })),
    );
  }
}
