/** The values of the headers that repeat a part of the body (MCP 2026-07-28, streamable-http: value encoding). */
import { isUtf8 } from 'node:buffer';

const PREFIX = '=?base64?';
const SUFFIX = '?=';
/** With its padding: what decoders forgive differs, and whoever routes by the header must read what we read. */
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const FIELD_VALUE = /^[\t\x20-\x7e]*$/;

/** The text that a value stands for; undefined when it has characters that no value may have, or broken Base64. */
export function decodeHeader(value: string): string | undefined {
  if (!FIELD_VALUE.test(value)) return undefined;
  const isEncoded =
    value.length >= PREFIX.length + SUFFIX.length && value.startsWith(PREFIX) && value.endsWith(SUFFIX);
  if (!isEncoded) return value;
  const encoded = value.slice(PREFIX.length, -SUFFIX.length);
  if (!BASE64.test(encoded)) return undefined;
  const bytes = Buffer.from(encoded, 'base64');
  return isUtf8(bytes) ? bytes.toString() : undefined;
}
