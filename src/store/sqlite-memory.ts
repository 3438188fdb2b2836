/**
 * What a query found, remembered until the database changes. Our own changes count from the moment they are made, those of
 * another process, such as an operator's command, some milliseconds later: a look at the database takes longer than all else
 * that a call needs of it.
 */
import type { ChangeCounters } from './sqlite.js';

/** How long a change of another process may go unnoticed. */
const LOOK_MS = 5;
/** When it is full it begins anew: who comes often is soon back. */
const MAX_REMEMBERED = 10_000;

/** Only what was found is remembered: what does not exist, strangers can ask for without an end. */
export function remembering<Key, Found>(
  find: (key: Key) => Found | undefined,
  { own, others }: ChangeCounters,
  elapsed: () => number = () => performance.now(),
): (key: Key) => Found | undefined {
  const known = new Map<Key, Found>();
  let ownSeen = own();
  let othersSeen = others();
  let lookedAt = elapsed();

  const forgetIfChanged = () => {
    const ownNow = own();
    const now = elapsed();
    const othersNow = now - lookedAt < LOOK_MS ? othersSeen : others();
    if (now - lookedAt >= LOOK_MS) lookedAt = now;
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
