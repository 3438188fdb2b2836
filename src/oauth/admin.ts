/**
 * What an operator may see and change: a port beside the one that serves requests. Nothing that it shows is a secret,
 * a hash or a ciphertext, and every change it makes holds for a running broker from its next request on.
 */
import type { ClientId, GrantId, Randomness, UserId } from '../base/ids.js';
import type { AuditEvent, AuditId, AuditKind, AuditStore } from './audit.js';
import {
  type AuthMethod,
  type Client,
  type ClientKind,
  type Registration,
  registerClient,
} from './clients.js';
import { isFault, type OAuthFault } from './fault.js';
import type { Grant } from './ports.js';

/** All times are milliseconds since the epoch. */
export interface ClientView {
  readonly id: ClientId;
  readonly kind: ClientKind;
  /** As the client calls itself, except for the operator's own. */
  readonly name: string;
  readonly redirectUris: readonly string[];
  readonly authMethod: AuthMethod;
  readonly createdAt: number;
  /** Last time one of its grants was made or refreshed. */
  readonly usedAt: number | null;
  readonly grants: number;
}

export interface UserView {
  readonly id: UserId;
  readonly issuer: string;
  readonly subject: string;
  readonly login: string;
  /** Whether the broker holds a token of this user that works at the upstream, as far as it knows. */
  readonly credential: 'alive' | 'dead';
  readonly grants: number;
}

export interface GrantView extends Grant {
  readonly login: string;
  readonly clientName: string;
  /** When the last of its tokens dies if none is refreshed; null while its code was not redeemed. */
  readonly expiresAt: number | null;
}

export interface AuditView extends AuditEvent {
  readonly login: string | undefined;
}

export interface GrantFilter {
  readonly user?: UserId | undefined;
  readonly client?: string | undefined;
}

export interface AuditFilter extends GrantFilter {
  readonly kind?: AuditKind | undefined;
  /** Nothing older than this. */
  readonly since?: number | undefined;
  readonly limit: number;
}

export interface AdminStore extends AuditStore {
  listClients(): Promise<readonly ClientView[]>;
  findClient(id: string): Promise<ClientView | undefined>;
  addClient(client: Client): Promise<void>;
  /** Removes a client with its grants, which are returned; undefined when there is no such client. */
  removeClient(id: string): Promise<readonly Grant[] | undefined>;

  listUsers(): Promise<readonly UserView[]>;
  /** The user of this id, or all of this login name: after a change of the upstream one name can be two people. */
  findUsers(idOrLogin: string): Promise<readonly UserView[]>;
  /** Ends the grants of a user, which are returned, and forgets the credential. */
  revokeUserGrants(id: UserId): Promise<readonly Grant[]>;

  listGrants(filter: GrantFilter): Promise<readonly GrantView[]>;
  findGrant(id: string): Promise<GrantView | undefined>;
  /** Ends a grant with its tokens and its code; undefined when there is no such grant. */
  revokeGrant(id: GrantId): Promise<Grant | undefined>;

  /** Newest first. */
  listAudit(filter: AuditFilter): Promise<readonly AuditView[]>;
  findAuditEvent(id: AuditId): Promise<AuditView | undefined>;
}

export interface OperatorClient {
  readonly name: string;
  readonly redirectUris: readonly string[];
  /** A public one has no secret and proves itself by PKCE alone. */
  readonly confidential: boolean;
}

/** A client of the operator's own: held to the rules of registration, but trusted by name and never swept away. */
export function registerOperatorClient(
  { name, redirectUris, confidential }: OperatorClient,
  now: number,
  random: Randomness,
): Registration | OAuthFault {
  const metadata = {
    client_name: name,
    redirect_uris: redirectUris,
    token_endpoint_auth_method: confidential ? 'client_secret_basic' : 'none',
  };
  const registration = registerClient(metadata, now, random);
  if (isFault(registration)) return registration;
  return { ...registration, client: { ...registration.client, kind: 'registered' } };
}
