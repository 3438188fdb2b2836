/**
 * The subscriptions of modern clients with the same words about themselves (MCP 2026-07-28, basic/patterns/subscriptions):
 * each is a stream, on which leaves what it asked for under its own id. Which resources the children are to watch follows
 * from all of them together.
 */
import type { NotificationMessage, RawJson } from '../mcp/message.js';
import { accepts, acknowledged, closed, type Filter, tagged } from '../mcp/subscriptions.js';
import { type Drain, type Exchange, together } from './calls.js';

interface Listener {
  readonly id: RawJson;
  readonly filter: Filter;
  readonly exchange: Exchange;
  /** Who says that it has ended. */
  readonly serverInfo: RawJson | undefined;
  /** It listens no more. */
  readonly over: () => void;
}

export class Listeners {
  readonly #listeners = new Set<Listener>();

  get size(): number {
    return this.#listeners.size;
  }

  /** Each once. */
  get resources(): readonly string[] {
    return [...new Set([...this.#listeners].flatMap(({ filter }) => filter.resourceSubscriptions))];
  }

  /** Acknowledges, and then passes on; what is returned takes the listener out again. */
  add(listener: Listener): () => void {
    const { id, filter, exchange } = listener;
    this.#listeners.add(listener);
    void exchange.send(acknowledged(id, filter));
    return () => {
      this.#remove(listener);
      void exchange.end(undefined);
    };
  }

  hear(message: NotificationMessage): Drain {
    const concerned = [...this.#listeners].filter(({ filter }) => accepts(filter, message));
    return together(concerned.map(({ id, exchange }) => exchange.send(tagged(message, id))));
  }

  /** Ends them in due form: their clients may listen anew. */
  end(): void {
    for (const listener of this.#listeners) {
      this.#remove(listener);
      void listener.exchange.end(closed(listener.id, listener));
    }
  }

  #remove(listener: Listener): void {
    if (this.#listeners.delete(listener)) listener.over();
  }
}
