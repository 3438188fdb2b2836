/**
 * Values that are nearly always there already: what is at hand is not put off to a later turn, which on the hot path
 * would cost as much as the work itself.
 */
export type Maybe<T> = T | Promise<T>;

/** `use(value)`, at once or later. What `use` throws is thrown, or is the rejection. */
export function after<T, U>(value: Maybe<T>, use: (value: T) => Maybe<U>): Maybe<U> {
  return value instanceof Promise ? value.then(use) : use(value);
}
