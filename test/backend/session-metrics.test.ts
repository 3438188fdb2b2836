/** What sessions tell becomes numbers: each event in its own series, all of them there from the start. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BYTE_DIRECTIONS, CALL_OUTCOMES, EVICTIONS } from '../../src/backend/observer.js';
import { countingObserver, gaugeModern, gaugeSessions } from '../../src/backend/session-metrics.js';
import { createMetrics } from '../../src/base/metrics.js';
import { nonZero, parseSeries } from '../support/scrape.js';

function setUp() {
  const metrics = createMetrics({ ofProcess: false });
  return {
    metrics,
    observer: countingObserver(metrics, ['forgejo', 'notes']),
    series: async () => parseSeries(await metrics.text()),
  };
}

test('every series is there before anything happens, so that its first event is an increase', async () => {
  const { series } = setUp();
  const all = [...(await series())].filter(([name]) => !name.includes('_bucket{'));
  assert.ok(all.every(([, value]) => value === 0));
  const names = all.map(([name]) => name);
  for (const server of ['forgejo', 'notes']) {
    for (const outcome of CALL_OUTCOMES)
      assert.ok(names.includes(`fjmcp_requests_total{server="${server}",outcome="${outcome}"}`));
    for (const how of ['neverStarted', 'exited', 'signalled', 'closedByUs'])
      assert.ok(names.includes(`fjmcp_child_ends_total{server="${server}",how="${how}"}`), how);
    for (const name of ['child_start', 'first_answer'])
      assert.ok(names.includes(`fjmcp_${name}_seconds_count{server="${server}"}`));
  }
  for (const why of EVICTIONS) assert.ok(names.includes(`fjmcp_evictions_total{why="${why}"}`));
  for (const direction of BYTE_DIRECTIONS)
    assert.ok(names.includes(`fjmcp_bytes_total{direction="${direction}"}`));
});

test('each event adds to its own series, times in seconds', async () => {
  const { observer, series } = setUp();
  observer.called('notes', 'answered');
  observer.called('notes', 'answered');
  observer.called('forgejo', 'timeout');
  observer.childEnded('forgejo', 'signalled');
  observer.evicted('crowded');
  observer.bytes('to_child', 1000);
  observer.bytes('to_child', 24);
  observer.childStarted('forgejo', 1500);
  observer.firstAnswer('notes', 300);
  const after = await series();
  assert.deepEqual(nonZero(after, 'fjmcp_requests_total'), {
    'fjmcp_requests_total{server="notes",outcome="answered"}': 2,
    'fjmcp_requests_total{server="forgejo",outcome="timeout"}': 1,
  });
  assert.deepEqual(nonZero(after, 'fjmcp_child_ends_total'), {
    'fjmcp_child_ends_total{server="forgejo",how="signalled"}': 1,
  });
  assert.deepEqual(nonZero(after, 'fjmcp_evictions_total'), { 'fjmcp_evictions_total{why="crowded"}': 1 });
  assert.deepEqual(nonZero(after, 'fjmcp_bytes_total'), { 'fjmcp_bytes_total{direction="to_child"}': 1024 });
  assert.deepEqual(nonZero(after, 'fjmcp_child_start_seconds_sum'), {
    'fjmcp_child_start_seconds_sum{server="forgejo"}': 1.5,
  });
  assert.deepEqual(nonZero(after, 'fjmcp_first_answer_seconds_sum'), {
    'fjmcp_first_answer_seconds_sum{server="notes"}': 0.3,
  });
});

test('a server that is not configured is not counted and breaks nothing', async () => {
  const { observer, series, metrics } = setUp();
  const before = await metrics.text();
  observer.called('alice', 'answered');
  observer.childStarted('alice', 1);
  observer.childEnded('alice', 'exited');
  observer.firstAnswer('alice', 1);
  assert.equal(await metrics.text(), before);
  assert.equal([...(await series()).keys()].join().includes('alice'), false);
});

test('sessions are counted by state and server, children by server; a closed session is none', async () => {
  const { metrics, series } = setUp();
  gaugeSessions(metrics, ['forgejo', 'notes'], () => ({
    sessions: [
      { server: 'forgejo', state: 'live' },
      { server: 'forgejo', state: 'dormant' },
      { server: 'notes', state: 'live' },
      { server: 'notes', state: 'live' },
      { server: 'notes', state: 'closed' },
    ],
    children: ['forgejo', 'notes', 'notes'],
  }));
  const now = await series();
  assert.deepEqual(nonZero(now, 'fjmcp_sessions'), {
    'fjmcp_sessions{state="live",server="forgejo"}': 1,
    'fjmcp_sessions{state="dormant",server="forgejo"}': 1,
    'fjmcp_sessions{state="live",server="notes"}': 2,
  });
  assert.equal(now.get('fjmcp_sessions{state="starting",server="notes"}'), 0);
  assert.deepEqual(nonZero(now, 'fjmcp_children'), {
    'fjmcp_children{server="forgejo"}': 1,
    'fjmcp_children{server="notes"}': 2,
  });
});

test('what modern clients keep open is read at each scrape', async () => {
  const { metrics, series } = setUp();
  const census = { parkedCalls: 0, subscriptions: 3 };
  gaugeModern(metrics, () => census);
  census.parkedCalls = 2;
  const now = await series();
  assert.deepEqual([now.get('fjmcp_parked_calls'), now.get('fjmcp_subscriptions')], [2, 3]);
});
