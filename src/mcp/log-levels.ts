/** Levels of log messages (RFC 5424, 6.2.1), and which message is wanted by a request that asked for a level. */
import { type NotificationMessage, textAt, valueAt } from './message.js';

/** From the most verbose on. */
export const LOG_LEVELS = [
  'debug',
  'info',
  'notice',
  'warning',
  'error',
  'critical',
  'alert',
  'emergency',
] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export function asLogLevel(text: string | undefined): LogLevel | undefined {
  return LOG_LEVELS.find((level) => level === text);
}

/** What a child must be set to so that each of these gets what it wants; undefined when none wants anything. */
export function mostVerbose(levels: Iterable<LogLevel | undefined>): LogLevel | undefined {
  const wanted = new Set(levels);
  return LOG_LEVELS.find((level) => wanted.has(level));
}

/** The level of a `notifications/message`. */
export function levelOf({ bytes }: NotificationMessage): LogLevel | undefined {
  const level = valueAt(bytes, ['params', 'level']);
  return asLogLevel(level && textAt(bytes, level));
}

/** A request without a level gets no messages (MCP 2026-07-28, server/utilities/logging: per-request log level). */
export function wants(wanted: LogLevel | undefined, level: LogLevel | undefined): boolean {
  if (wanted === undefined || level === undefined) return false;
  return LOG_LEVELS.indexOf(level) >= LOG_LEVELS.indexOf(wanted);
}
