/**
 * Modern clients on modern servers. Each grant has one child of a server; it is told what its clients say in their own
 * words, and they get its results as they are (`mcp/relayed-results.ts` has the exceptions). Kept for a client are its
 * subscriptions, and how the server answered `server/discover`: a client that only looks costs no process.
 */
import { rawAt } from '../mcp/message.js';
import { because, ERRORS } from '../mcp/protocol.js';
import { keptFor } from '../mcp/relayed-results.js';
import { refuse } from './answers.js';
import type { Exchange } from './calls.js';
import type { Asked, ModernOptions, ModernWay } from './modern.js';
import { RelayEar } from './relay-ear.js';
import { RelayedCall } from './relayed-call.js';

/** A subscription is kept, and said to each new child. */
const MAX_LISTEN_BYTES = 256 * 1024;
const TOO_LONG = because(ERRORS.invalidParams, `a subscription has at most ${MAX_LISTEN_BYTES} bytes`);

export class ModernRelay implements ModernWay {
  readonly #options: ModernOptions;
  /** By grant and server. */
  readonly #ears = new Map<string, RelayEar>();

  constructor(options: ModernOptions) {
    this.#options = options;
  }

  request(asked: Asked, exchange: Exchange): () => void {
    const { request } = asked;
    const { message } = request;
    const ear = this.#earOf(asked);
    switch (message.method) {
      case 'server/discover':
        return discover(asked, exchange, ear);
      case 'subscriptions/listen':
        if (message.bytes.length > MAX_LISTEN_BYTES) return refuse(message, exchange, TOO_LONG);
        return ear.listen(request, exchange);
      case 'tools/call':
        return this.#callTool(asked, exchange, ear);
      case 'tools/list':
        return ear.call(request, new RelayedCall(exchange, request, (answer) => ear.tools.overhear(message, answer)));
      default:
        return ear.call(request, new RelayedCall(exchange, request));
    }
  }

  #earOf({ caller, server }: Asked): RelayEar {
    const name = `${caller.grantId} ${server}`;
    const known = this.#ears.get(name);
    if (known !== undefined) return known;
    const ear = new RelayEar(() => this.#ears.delete(name));
    const { sessions } = this.#options;
    this.#ears.set(name, ear);
    return ear.attach(
      sessions.shared('modern', caller, server, (host) => ({ greeting: 'none', ear: ear.at(host) })),
    );
  }
}

function discover({ request }: Asked, exchange: Exchange, ear: RelayEar): () => void {
  const { message, envelope } = request;
  const known = ear.known(envelope);
  if (known === undefined) {
    return ear.call(request, new RelayedCall(exchange, request, (answer) => ear.remember(envelope, answer)));
  }
  void exchange.end(keptFor(rawAt(message.bytes, message.id), known));
  return () => undefined;
}
