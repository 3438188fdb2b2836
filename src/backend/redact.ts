/**
 * Removes the upstream token from what a child writes. Forgejo quotes the token in its 401 bodies, and servers pass
 * those on in answers, errors and logs. Works on whole lines, so no chunk border can hide half of it.
 */
import type { Secret } from '../base/secret.js';

const REDACTED = Buffer.from('[redacted]');
/** A shorter secret would blank out ordinary text; no upstream issues one. */
const SHORTEST = 8;

export type Redactor = (line: Buffer) => Buffer;

export function createRedactor(secret: Secret): Redactor {
  const forms = formsOf(secret.reveal());
  return (line) => forms.reduce(without, line);
}

/** The ways the text of a secret is written in JSON, in a URL, and as it is. */
function formsOf(text: string): Buffer[] {
  if (text.length < SHORTEST) return [];
  const json = JSON.stringify(text).slice(1, -1);
  const percent = encodeURIComponent(text);
  const lower = percent.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase());
  return [...new Set([text, json, json.replaceAll('/', '\\/'), percent, lower])].map((form) =>
    Buffer.from(form),
  );
}

function without(line: Buffer, form: Buffer): Buffer {
  let at = line.indexOf(form);
  if (at === -1) return line;
  const parts: Buffer[] = [];
  let read = 0;
  for (; at !== -1; at = line.indexOf(form, read)) {
    parts.push(line.subarray(read, at), REDACTED);
    read = at + form.length;
  }
  parts.push(line.subarray(read));
  return Buffer.concat(parts);
}
