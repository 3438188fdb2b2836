/** The rows of the stand-in instance, and what a browser session remembers. */
import type { ApiScopes } from './scopes.js';

/** `unactivated` waits for its e-mail confirmation; `prohibited` is what an administrator's bar and deactivation look like. */
export type AccountStatus = 'active' | 'unactivated' | 'prohibited' | 'must-change-password';

export interface User {
  readonly id: number;
  login: string;
  readonly password: string;
  readonly fullName: string;
  readonly email: string;
  readonly admin: boolean;
  readonly organizations: readonly string[];
  readonly created: number;
  status: AccountStatus;
}

export interface Repository {
  readonly id: number;
  readonly ownerId: number;
  readonly name: string;
  readonly description: string;
  readonly private: boolean;
  readonly issues: Issue[];
}

export interface Issue {
  readonly id: number;
  readonly number: number;
  readonly authorId: number;
  readonly title: string;
  readonly body: string;
  readonly created: number;
}

export interface Application {
  readonly id: number;
  /** 0 owns instance-wide applications. */
  readonly ownerId: number;
  readonly clientId: string;
  readonly created: number;
  clientSecret: string;
  name: string;
  redirectUris: readonly string[];
  confidential: boolean;
}

/** One row per user and application, whatever was asked later. */
export interface Grant {
  readonly id: number;
  readonly userId: number;
  readonly applicationId: number;
  readonly scope: string;
  nonce: string;
  counter: number;
  /** `exp` of the latest access token, and up to which `exp` they are to count as expired already. */
  latestExpiry: number;
  expiredUpTo: number;
}

/** Has no lifetime: it stays good until it is redeemed. */
export interface AuthorizationCode {
  readonly code: string;
  readonly grantId: number;
  readonly redirectUri: string;
  readonly codeChallenge: string;
  readonly codeChallengeMethod: string;
}

export interface PersonalToken {
  readonly id: number;
  readonly userId: number;
  readonly name: string;
  readonly token: string;
  readonly scopes: ApiScopes;
  /** Full names of the only repositories it reaches; undefined is no such limit. */
  readonly repositories: readonly string[] | undefined;
  readonly created: number;
}

/** What a browser's session cookie stands for. */
export interface BrowserSession {
  readonly csrf: string;
  userId: number | undefined;
  /** The authorization its consent page was last shown for: an older tab's form no longer matches. */
  asked: { readonly clientId: string; readonly redirectUri: string; readonly state: string } | undefined;
  /** Never cleared, so a later authorization without PKCE inherits them. */
  codeChallenge: string;
  codeChallengeMethod: string;
}

export interface Settings {
  version: string;
  accessTokenSeconds: number;
  refreshTokenSeconds: number;
  invalidateRefreshTokens: boolean;
  requireSigninView: boolean;
  oauthEnabled: boolean;
}

export type Race = 'code' | 'counter';

/** What keeps an account out of pages and API altogether, if anything does. */
export function barOf(user: User | undefined): 'unactivated' | 'prohibited' | undefined {
  return user?.status === 'unactivated' || user?.status === 'prohibited' ? user.status : undefined;
}
