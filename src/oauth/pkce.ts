/** RFC 7636, S256 only: `plain` protects nothing once the request is seen. */
import { createHash } from 'node:crypto';
import { sameText } from '../base/ids.js';

/** RFC 7636 §4.2: 43 characters, the unpadded base64url of a SHA-256. */
export function isChallenge(text: string): boolean {
  return /^[A-Za-z0-9_-]{43}$/.test(text);
}

/** Whether `verifier` (RFC 7636 §4.1: 43 to 128 unreserved characters) is the one behind `challenge`. */
export function verifierMatches(verifier: string, challenge: string): boolean {
  if (!/^[A-Za-z0-9._~-]{43,128}$/.test(verifier)) return false;
  return sameText(createHash('sha256').update(verifier).digest('base64url'), challenge);
}
