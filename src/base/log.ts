/**
 * Structured log. An event is a dotted noun phrase (`child.exited`), its fields are data; prose belongs in docs.
 * Secrets are a type that prints `[redacted]`, so a field can hold one without leaking it.
 */
import { pino } from 'pino';
import { PinoPretty } from 'pino-pretty';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export const LOG_FORMATS = ['json', 'text'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

export type LogFields = Readonly<Record<string, unknown>>;
export type Log = Readonly<Record<LogLevel, (event: string, fields?: LogFields) => void>>;

const MAX_UNWRITTEN_BYTES = 1024 * 1024;

/** A log that writes to file descriptor `fd` (default 2: stdout belongs to commands that print data). */
export function createLog(level: LogLevel, format: LogFormat, fd = 2): Log {
  const destination =
    format === 'text'
      ? PinoPretty({ destination: fd, sync: true, messageKey: 'event' })
      : unbreakable(pino.destination({ dest: fd, sync: true, maxLength: MAX_UNWRITTEN_BYTES }));
  const logger = pino(
    { level, base: null, messageKey: 'event', timestamp: pino.stdTimeFunctions.isoTime },
    destination,
  );
  return {
    debug: (event, fields = {}) => logger.debug(fields, event),
    info: (event, fields = {}) => logger.info(fields, event),
    warn: (event, fields = {}) => logger.warn(fields, event),
    error: (event, fields = {}) => logger.error(fields, event),
  };
}

/** On a full disk lines wait, and beyond a bound are dropped; whoever wrote them goes on. */
function unbreakable(destination: ReturnType<typeof pino.destination>): typeof destination {
  destination.on('error', () => undefined);
  return destination;
}

/** A log that hands every event to `write`: for tests, and for whoever wants to look. */
export function createRecordingLog(write: (level: LogLevel, event: string, fields: LogFields) => void): Log {
  const at =
    (level: LogLevel) =>
    (event: string, fields: LogFields = {}) =>
      write(level, event, fields);
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** What an exception says to the operator: name and message of it and of its causes; the stack only at debug level. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  for (let cause = error; cause !== undefined && parts.length < 5; ) {
    parts.push(cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause));
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return parts.join(' <- ');
}
