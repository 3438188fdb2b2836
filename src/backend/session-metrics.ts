/** The observer that counts: each series is looked up once, here, and only added to afterwards. */
import type { Metrics } from '../base/metrics.js';
import type { ChildEnd } from './child.js';
import {
  BYTE_DIRECTIONS,
  CALL_OUTCOMES,
  type Census,
  EVICTIONS,
  type ModernCensus,
  type SessionObserver,
} from './observer.js';
import type { Session } from './session.js';

/** A start costs a process, perhaps a refresh at Forgejo; a first answer that and the call itself. */
const START_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

const CHILD_ENDS = keys<ChildEnd['how']>({ neverStarted: 0, exited: 0, signalled: 0, closedByUs: 0 });
/** A closed session is none. */
const STATES = keys<Exclude<Session['state'], 'closed'>>({
  dormant: 0,
  starting: 0,
  live: 0,
  replacing: 0,
});

export function countingObserver(metrics: Metrics, servers: readonly string[]): SessionObserver {
  const server = servers;
  const starts = metrics.histogram(
    'fjmcp_child_start_seconds',
    'From the spawn of a child to the end of its handshake.',
    { server },
    START_SECONDS,
  );
  const firstAnswers = metrics.histogram(
    'fjmcp_first_answer_seconds',
    'From the request that woke a session without a child to its answer.',
    { server },
    START_SECONDS,
  );
  const calls = metrics.counter('fjmcp_requests_total', 'MCP requests of clients, by how they ended.', {
    server,
    outcome: CALL_OUTCOMES,
  });
  const ends = metrics.counter('fjmcp_child_ends_total', 'Children that ended, by how.', {
    server,
    how: CHILD_ENDS,
  });
  const evictions = metrics.counter(
    'fjmcp_evictions_total',
    'Children stopped and sessions closed by limits.',
    {
      why: EVICTIONS,
    },
  );
  const bytes = metrics.counter('fjmcp_bytes_total', 'Bytes of MCP messages.', {
    direction: BYTE_DIRECTIONS,
  });

  const perServer = new Map(
    servers.map((name) => [
      name,
      {
        started: starts({ server: name }),
        firstAnswered: firstAnswers({ server: name }),
        called: record(CALL_OUTCOMES, (outcome) => calls({ server: name, outcome })),
        ended: record(CHILD_ENDS, (how) => ends({ server: name, how })),
      },
    ]),
  );
  const evicted = record(EVICTIONS, (why) => evictions({ why }));
  const moved = record(BYTE_DIRECTIONS, (direction) => bytes({ direction }));

  return {
    childStarted: (name, ms) => perServer.get(name)?.started(ms / 1000),
    childEnded: (name, how) => perServer.get(name)?.ended[how].add(),
    firstAnswer: (name, ms) => perServer.get(name)?.firstAnswered(ms / 1000),
    called: (name, outcome) => perServer.get(name)?.called[outcome].add(),
    evicted: (why) => evicted[why].add(),
    bytes: (direction, count) => moved[direction].add(count),
  };
}

/** What is there at the moment of a scrape. */
export function gaugeSessions(metrics: Metrics, servers: readonly string[], census: () => Census): void {
  metrics.gauge('fjmcp_sessions', 'Open sessions, by state.', { state: STATES, server: servers }, (add) => {
    for (const { state, server } of census().sessions) {
      if (state !== 'closed') add({ state, server }, 1);
    }
  });
  metrics.gauge(
    'fjmcp_children',
    'Child processes, starting and stopping ones included.',
    { server: servers },
    (add) => {
      for (const server of census().children) add({ server }, 1);
    },
  );
}

export function gaugeModern(metrics: Metrics, census: () => ModernCensus): void {
  metrics.gauge('fjmcp_parked_calls', 'Calls that wait for their clients to come back.', {}, (add) =>
    add({}, census().parkedCalls),
  );
  metrics.gauge('fjmcp_subscriptions', 'Open subscriptions of modern clients.', {}, (add) =>
    add({}, census().subscriptions),
  );
}

/** The words of a union as a list; the compiler sees to it that none is missing. */
function keys<Word extends string>(words: Readonly<Record<Word, 0>>): readonly Word[] {
  return Object.keys(words) as Word[];
}

function record<Word extends string, T>(
  words: readonly Word[],
  make: (word: Word) => T,
): Readonly<Record<Word, T>> {
  return Object.fromEntries(words.map((word) => [word, make(word)])) as Record<Word, T>;
}
