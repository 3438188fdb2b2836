/** Finds a client by its id, whatever its kind, and decides whether a request really comes from it. */
import type { ClientAssertions } from './client-assertions.js';
import { type ClientDocuments, isDocumentId } from './client-documents.js';
import { type Client, checkClientSecret, parseClientCredentials } from './clients.js';
import { fault, isFault, type OAuthFault } from './fault.js';
import type { Parameters } from './parameters.js';
import type { OAuthStore } from './ports.js';

export interface ClientRegistryDeps {
  readonly store: Pick<OAuthStore, 'findClient'>;
  readonly documents: ClientDocuments;
  readonly assertions: ClientAssertions;
}

export interface Authenticated {
  readonly client: Client;
  /** By a secret or an assertion. Of a public client that brought neither, only the name is known, which anybody can say. */
  readonly proven: boolean;
}

export class ClientRegistry {
  readonly #deps: ClientRegistryDeps;

  constructor(deps: ClientRegistryDeps) {
    this.#deps = deps;
  }

  /**
   * The client of that id, nothing, or that its document cannot be fetched before others are. `network` is any name for
   * where the request came from.
   */
  find(id: string, network: string): Promise<Client | 'no_place' | undefined> {
    const { documents, store } = this.#deps;
    return isDocumentId(id) ? documents.find(id, network) : store.findClient(id);
  }

  /** Whether a client of that id would describe itself in a document, at a host that may. */
  mayDescribe(id: string): boolean {
    return this.#deps.documents.mayDescribe(id);
  }

  /** The client that sent `form` from `network`, proven as its registration demands. */
  async authenticate(
    form: Parameters,
    authorization: string | undefined,
    network: string,
  ): Promise<Authenticated | OAuthFault> {
    const claimed = parseClientCredentials(form, authorization);
    if (isFault(claimed)) return claimed;
    const client = await this.find(claimed.id, network);
    if (client === undefined) return fault('client_unknown');
    if (client === 'no_place') return fault('client_document_unavailable');
    const { proof } = claimed;
    const refused =
      proof.by === 'assertion'
        ? await this.#deps.assertions.check(client, proof.assertion, network)
        : checkClientSecret(client, proof.by === 'secret' ? proof.secret : undefined);
    return refused ?? { client, proven: proof.by === 'assertion' || client.secretHash !== undefined };
  }
}
