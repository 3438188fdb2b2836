/** Forgejo's scopes: how an OAuth `scope` becomes rights at the API, including the fall-back that surprises everyone. */

const CATEGORIES = [
  'activitypub',
  'admin',
  'issue',
  'misc',
  'notification',
  'organization',
  'package',
  'repository',
  'user',
] as const;

export type Category = (typeof CATEGORIES)[number];
export type RequiredScope = `${'read' | 'write'}:${Category}`;

const OPENID_SCOPES = new Set(['openid', 'profile', 'email', 'groups']);
const API_SCOPES = new Set([
  'all',
  'public-only',
  ...CATEGORIES.flatMap((category) => [`read:${category}`, `write:${category}`]),
]);

export type ApiScopes = ReadonlySet<string>;

export const ALL_SCOPES: ApiScopes = new Set(['all']);

/**
 * Single spaces separate, unknown names vanish silently, and a token left with nothing may do everything:
 * no scope, only `openid`, a misspelling and a comma-separated list all mean `all`.
 */
export function apiScopesOf(oauthScope: string): ApiScopes {
  const known = oauthScope.split(' ').filter((name) => !OPENID_SCOPES.has(name) && API_SCOPES.has(name));
  return known.length === 0 ? ALL_SCOPES : new Set(known);
}

export function hasOpenIdScope(oauthScope: string, name: string): boolean {
  return oauthScope.split(' ').includes(name);
}

export function isApiScope(name: string): boolean {
  return API_SCOPES.has(name);
}

/** Write implies read; every required scope is needed, although the error text says "at least one of". */
export function permits(scopes: ApiScopes, required: readonly RequiredScope[]): boolean {
  return (
    scopes.has('all') ||
    required.every((scope) => scopes.has(scope) || scopes.has(scope.replace(/^read:/, 'write:')))
  );
}
