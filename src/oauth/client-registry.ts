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

export class ClientRegistry {
  readonly #deps: ClientRegistryDeps;

  constructor(deps: ClientRegistryDeps) {
    this.#deps = deps;
  }

  find(id: string): Promise<Client | undefined> {
    const { documents, store } = this.#deps;
    return isDocumentId(id) ? documents.find(id) : store.findClient(id);
  }

  /** The client that sent `form`, proven as its registration demands. */
  async authenticate(form: Parameters, authorization: string | undefined): Promise<Client | OAuthFault> {
    const claimed = parseClientCredentials(form, authorization);
    if (isFault(claimed)) return claimed;
    const client = await this.find(claimed.id);
    if (client === undefined) return fault('client_unknown');
    const { proof } = claimed;
    const refused =
      proof.by === 'assertion'
        ? await this.#deps.assertions.check(client, proof.assertion)
        : checkClientSecret(client, proof.by === 'secret' ? proof.secret : undefined);
    return refused ?? client;
  }
}
