/**
 * Modern clients on modern servers. Each grant has one child of a server; it is told what its clients say in their own
 * words, and they get its results as they are (`mcp/relayed-results.ts` has the exceptions). Kept for a client are its
 * subscriptions, and how the server answered `server/discover`: a client that only looks costs no process.
 */
import { after } from '../base/maybe.js';
import { rawAt } from '../mcp/message.js';
import { checkParamHeaders } from '../mcp/param-headers.js';
import { keptFor } from '../mcp/relayed-results.js';
import type { Exchange } from './calls.js';
import * as failures from './failures.js';
import { Leaving } from './leaving.js';
import type { ListeningPlaces } from './listening-places.js';
import type { Asked, ModernOptions, ModernWay } from './modern.js';
import type { Refusals } from './refusals.js';
import { RelayEar } from './relay-ear.js';
import { RelayedCall } from './relayed-call.js';

export class ModernRelay implements ModernWay {
  readonly #options: ModernOptions;
  /** By grant and server. */
  readonly #ears = new Map<string, RelayEar>();
  readonly #places: ListeningPlaces;
  readonly #refusals: Refusals;

  constructor(options: ModernOptions, places: ListeningPlaces, refusals: Refusals) {
    this.#options = options;
    this.#places = places;
    this.#refusals = refusals;
  }

  request(asked: Asked, exchange: Exchange): () => void {
    const { request } = asked;
    const ear = this.#earOf(asked);
    switch (request.message.method) {
      case 'server/discover':
        return this.#discover(asked, exchange, ear);
      case 'subscriptions/listen':
        return this.#listen(asked, exchange, ear);
      case 'tools/list':
        return ear.call(request, new RelayedCall(exchange, request, (answer) => ear.listed(request, answer)));
      case 'tools/call':
        return this.#callTool(asked, exchange, ear);
      default:
        return ear.call(request, new RelayedCall(exchange, request));
    }
  }

  #discover({ request }: Asked, exchange: Exchange, ear: RelayEar): () => void {
    const { message, envelope } = request;
    const known = ear.known(envelope);
    if (known === undefined) {
      return ear.call(
        request,
        new RelayedCall(exchange, request, (answer) => ear.remember(envelope, answer)),
      );
    }
    void exchange.end(keptFor(rawAt(message.bytes, message.id), known));
    return () => undefined;
  }

  #listen(asked: Asked, exchange: Exchange, ear: RelayEar): () => void {
    const { request } = asked;
    const giveBack = this.#places.take(asked.caller.userId);
    if (giveBack === undefined) return this.#refusals.refuse(asked, exchange, failures.tooManyListeners);
    return ear.listen(request, {
      streams: exchange.streams,
      send: (notification) => exchange.send(notification),
      end: (answer, retryAfterSeconds, outcome) => {
        giveBack();
        return exchange.end(answer, retryAfterSeconds, outcome);
      },
    });
  }

  /** What the headers of a call say of its arguments is checked here: on stdio there are no headers. */
  #callTool(asked: Asked, exchange: Exchange, ear: RelayEar): () => void {
    const { request, header } = asked;
    const leaving = new Leaving();
    this.#refusals.attempt(asked, exchange, () =>
      after(ear.headersOf(request), (expected) => {
        if (leaving.isGone) return;
        const fault = checkParamHeaders(expected, request, header);
        if (fault !== undefined) return void this.#refusals.refuse(asked, exchange, fault);
        leaving.means(ear.call(request, new RelayedCall(exchange, request)));
      }),
    );
    return leaving.go;
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
