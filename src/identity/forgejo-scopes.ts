/** Forgejo's API scopes. It drops an unknown one silently, and takes an empty list for full access: so we check first. */

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
];
const OTHERS = ['openid', 'profile', 'email', 'groups'];
const KNOWN = new Set([
  ...CATEGORIES.flatMap((category) => [`read:${category}`, `write:${category}`]),
  ...OTHERS,
]);

/** The scopes in `text`, or what is wrong with it. */
export function parseForgejoScopes(text: string): readonly string[] | { readonly problem: string } {
  const scopes = text.split(' ');
  const unknown = scopes.filter((scope) => !KNOWN.has(scope));
  if (unknown.length > 0) {
    const shown = unknown.map((scope) => JSON.stringify(scope)).join(', ');
    return { problem: `holds ${shown}; use one space between scopes such as read:user, write:issue` };
  }
  // `write` includes `read` at Forgejo.
  if (!scopes.includes('read:user') && !scopes.includes('write:user')) {
    return { problem: 'must contain read:user: without it nobody can be identified' };
  }
  return scopes;
}
