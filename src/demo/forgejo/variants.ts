/** What differs on the wire between the Forgejo branches an operator may run. One row a difference, no `if (variant)` elsewhere. */

export type Variant = '11' | '15' | '16';

export interface VariantFacts {
  readonly version: string;
  readonly sessionCookie: string;
  /** How unsafe browser requests are protected: a hidden field, or Go's check of Sec-Fetch-Site and Origin. */
  readonly csrf: 'field' | 'origin';
  /** What follows ROOT_URL (without its slash) in `iss` and in discovery. */
  readonly issuerSuffix: '' | '/';
  /** Whether a refresh refuses an access token by its type. */
  readonly checksRefreshType: boolean;
  /** Whether the scheme `token` is compared without regard to case (`bearer` always is). */
  readonly foldsTokenScheme: boolean;
  /** What a 401 of the API says about the credential, up to repeating it. */
  readonly badToken: 'nobody' | 'echoes access tokens' | 'echoes all';
  readonly userinfoForAccessToken: 'answers' | 'no valid authorization' | 'credentials are incorrect';
  readonly userinfoForBarred: 'json' | 'html';
  /** Whether introspection also takes the `token` field as the caller's own credential. */
  readonly introspectsOwnCredential: boolean;
}

export const VARIANTS: Readonly<Record<Variant, VariantFacts>> = {
  '11': {
    version: '11.0.15+gitea-1.22.0',
    sessionCookie: 'i_like_gitea',
    csrf: 'field',
    issuerSuffix: '/',
    checksRefreshType: false,
    foldsTokenScheme: false,
    badToken: 'nobody',
    userinfoForAccessToken: 'answers',
    userinfoForBarred: 'html',
    introspectsOwnCredential: true,
  },
  '15': {
    version: '15.0.3+gitea-1.22.0',
    sessionCookie: 'session',
    csrf: 'origin',
    issuerSuffix: '',
    checksRefreshType: true,
    foldsTokenScheme: true,
    badToken: 'echoes access tokens',
    userinfoForAccessToken: 'no valid authorization',
    userinfoForBarred: 'html',
    introspectsOwnCredential: true,
  },
  '16': {
    version: '16.0.1+gitea-1.22.0',
    sessionCookie: 'session',
    csrf: 'origin',
    issuerSuffix: '',
    checksRefreshType: true,
    foldsTokenScheme: true,
    badToken: 'echoes all',
    userinfoForAccessToken: 'credentials are incorrect',
    userinfoForBarred: 'json',
    introspectsOwnCredential: false,
  },
};
