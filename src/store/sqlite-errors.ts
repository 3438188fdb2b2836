/** What an exception of SQLite says about tomorrow. */

/** The file is locked by another program, the disk is full or does not answer: the same request may work later. */
const PASSING = /^SQLITE_(?:BUSY|LOCKED|FULL|IOERR|CANTOPEN)(?:_|$)/;

/** Whether the store failed for a reason that is not the request's and may pass. */
export function isPassingFailure(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ('code' in cause && typeof cause.code === 'string' && PASSING.test(cause.code)) return true;
  }
  return false;
}
