/** Time is a parameter. Milliseconds since the epoch, from the one clock that `broker.ts` hands out. */
export type Clock = () => number;

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const DAY = 24 * 60 * MINUTE;
