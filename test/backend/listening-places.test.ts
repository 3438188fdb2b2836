/** What a user may keep open is counted once, whichever era the servers behind speak. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ListeningPlaces } from '../../src/backend/listening-places.js';
import type { UserId } from '../../src/base/ids.js';

const ann = 'ann' as UserId;
const bob = 'bob' as UserId;

test('a user who has every place gets no more, and takes none from others', () => {
  const places = new ListeningPlaces(2);
  assert.ok(places.take(ann) && places.take(ann));
  assert.equal(places.take(ann), undefined);
  assert.ok(places.take(bob));
});

test('a place that is given back can be taken again, but counts as one however often it is given back', () => {
  const places = new ListeningPlaces(2);
  const giveBack = places.take(ann);
  assert.ok(giveBack && places.take(ann));
  giveBack();
  giveBack();
  assert.ok(places.take(ann));
  assert.equal(places.take(ann), undefined);
});
