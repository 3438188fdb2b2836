/**
 * What a query found, remembered until the database changes. Our own changes count from the moment they are made. Those of
 * another process, such as an operator's command, count from the next turn of the event loop: a request that was sent
 * after the command had ended is read in a later turn than any look at the database before it.
 */
import type { ChangeCounters } from './sqlite.js';

/** When it is full it begins anew: who comes often is soon back. */
const MAX_REMEMBERED = 10_000;

/** Only what was found is remembered: what does not exist, strangers can ask for without an end. */
export function remembering<Key, Found>(
  find: (key: Key) => Found | undefined,
  { own, others }: ChangeCounters,
): (key: Key) => Found | undefined {
  const known = new Map<Key, Found>();
  let ownSeen = own();
  let othersSeen = others();
  let hasLooked = false;

  const forgetIfChanged = () => {
    const ownNow = own();
    const othersNow = hasLooked ? othersSeen : others();
    if (!hasLooked) {
      hasLooked = true;
      setImmediate(() => {
        hasLooked = false;
      });
    }
    if (ownNow !== ownSeen || othersNow !== othersSeen) known.clear();
    ownSeen = ownNow;
    othersSeen = othersNow;
  };

  return (key) => {
    // Before the query, so that nothing older is remembered than what the counters stand for.
    forgetIfChanged();
    const remembered = known.get(key);
    if (remembered !== undefined) return remembered;
    const found = find(key);
    if (found !== undefined) {
      if (known.size >= MAX_REMEMBERED) known.clear();
      known.set(key, found);
    }
    return found;
  };
}
