/** Which Forgejo releases may be trusted with a sign-in: those with the OAuth fixes of 2026-05-12. */

export type VersionVerdict = 'good' | 'too_old' | 'not_forgejo';

/** What an operator is told. */
export const REQUIRED_VERSIONS = 'Forgejo 11.0.14 or later in the 11 series, or 15.0.2 or later';

/** Judges the text of `GET /api/v1/version`, e.g. `15.0.3+gitea-1.22.0`. */
export function judgeVersion(text: string): VersionVerdict {
  const match = /^(\d+)\.(\d+)\.(\d+)/.exec(text);
  // Forgejo names the Gitea it is compatible with; Gitea itself does not.
  if (match === null || !text.includes('+gitea-')) return 'not_forgejo';
  const [major = 0, minor = 0, patch = 0] = match.slice(1).map(Number);
  if (major === 11) return minor > 0 || patch >= 14 ? 'good' : 'too_old';
  if (major === 15) return minor > 0 || patch >= 2 ? 'good' : 'too_old';
  return major > 15 ? 'good' : 'too_old';
}
