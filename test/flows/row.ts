/** What is known of a client, as the flows of `clients.test.ts` walk it. */

/** Method, path, the status it must get, and the client's headers. */
export type DiscoveryStep = readonly [
  method: string,
  path: string,
  status: number,
  headers?: Readonly<Record<string, string>>,
];

export interface CommonRow {
  readonly name: string;
  readonly discovery: readonly DiscoveryStep[];
  readonly redirectUri: string;
  readonly scope?: string;
  readonly prompt?: string;
  /** Paths of the resources asked for, in all three requests; default: the endpoint once. */
  readonly resource?: readonly string[];
  readonly auth: 'none' | 'post' | 'basic' | 'private_key_jwt';
  /** The scope it must be given; default: both. */
  readonly granted?: string;
  readonly refreshScope?: string;
  readonly stateless?: boolean;
  readonly verifierBytes?: number;
  readonly authorizeAt?: string;
  readonly tokenAt?: string;
}

type Registration = {
  readonly redirect_uris: readonly string[];
  readonly token_endpoint_auth_method?: string;
} & Readonly<Record<string, unknown>>;

export type ClientRow = CommonRow &
  (
    | { readonly document: string }
    | { readonly published: Registration | { readonly redirect_uris: readonly string[] } }
    | { readonly register: Registration; readonly registrations?: number; readonly registerAt?: string }
  );
