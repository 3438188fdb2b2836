/** `fjmcp-broker audit`: what happened, newest first, or the one event whose id somebody quotes. */
import { DAY, MINUTE } from '../base/clock.js';
import type { AuditView } from '../oauth/admin.js';
import { AUDIT_KINDS, type AuditId } from '../oauth/audit.js';
import { type Noun, oneUser, present, verb } from './desk.js';
import { CommandProblem, UsageProblem } from './problems.js';
import { card, clean, type Report, table, time } from './report.js';

const USAGE = `usage: fjmcp-broker audit <command> [--json]

  list [--user LOGIN|ID] [--client ID] [--kind KIND] [--since WHEN] [--limit N]
                  events, newest first. WHEN: 30m, 24h, 7d, or a date such as 2026-01-31;
                  N: at most so many (default 50)
  show ID         one event: the id that a page told a user to quote

kinds: ${AUDIT_KINDS.join(', ').replace(/(.{60,80}?,) /g, '$1\n       ')}
`;

const DEFAULT_LIMIT = 50;
const UNITS_MS: Readonly<Record<string, number>> = { m: MINUTE, h: 60 * MINUTE, d: DAY };

const list = verb({ once: ['user', 'client', 'kind', 'since', 'limit'] }, ({ option }) => {
  const [user, client] = [option('user'), option('client')];
  const kind = parseKind(option('kind'));
  const limit = parseLimit(option('limit'));
  const since = parseSince(option('since'));
  return async (desk): Promise<Report> => {
    const events = await desk.store.listAudit({
      user: user === undefined ? undefined : (await oneUser(desk, user)).id,
      client,
      kind,
      since: since?.(desk.now()),
      limit: limit + 1,
    });
    const shown = events.slice(0, limit);
    const more = events.length > limit ? `\nThere are older ones; see more with --limit.\n` : '';
    return {
      data: shown.map(toData),
      text:
        table(
          ['ID', 'AT', 'KIND', 'USER', 'CLIENT', 'REASON'],
          shown.map((event) => [
            event.id,
            time(event.at),
            event.kind,
            event.login ?? event.user ?? '',
            event.client ?? '',
            event.reason ?? '',
          ]),
          'There is no such event.',
        ) + more,
    };
  };
});

const show = verb({ argument: 'ID' }, ({ argument }) => async ({ store }): Promise<Report> => {
  if (argument.startsWith('in_')) {
    throw new CommandProblem(`"${clean(argument)}" is the id of an incident; find it in the broker's log`);
  }
  const event = present(await store.findAuditEvent(argument as AuditId), `event "${clean(argument)}"`);
  const { login, user, client, grant, reason } = event;
  return {
    data: toData(event),
    text: card([
      ['id', event.id],
      ['at', time(event.at)],
      ['kind', event.kind],
      ...(user === undefined ? [] : [['user', `${login ?? 'unknown'} (${user})`] as const]),
      ...(client === undefined ? [] : [['client', client] as const]),
      ...(grant === undefined ? [] : [['grant', grant] as const]),
      ...(reason === undefined ? [] : [['reason', reason] as const]),
    ]),
  };
});

export const audit: Noun = { usage: USAGE, verbs: { list, show } };

function parseKind(text: string | undefined) {
  if (text === undefined) return undefined;
  const kind = AUDIT_KINDS.find((one) => one === text);
  if (kind === undefined) throw new UsageProblem(`--kind: there is no kind "${clean(text)}"`);
  return kind;
}

function parseLimit(text: string | undefined): number {
  if (text === undefined) return DEFAULT_LIMIT;
  if (!/^[1-9]\d{0,6}$/.test(text))
    throw new UsageProblem(`--limit: "${clean(text)}" is no number from 1 up`);
  return Number(text);
}

/** Back from now, or a point in time; one without a zone is UTC, as everything that is printed. */
function parseSince(text: string | undefined): ((now: number) => number) | undefined {
  if (text === undefined) return undefined;
  const [, amount, unit = ''] = /^(\d{1,6})([mhd])$/.exec(text) ?? [];
  if (amount !== undefined) return (now) => now - Number(amount) * (UNITS_MS[unit] ?? 0);
  const [, date, clock = 'T00:00', zone = 'Z'] =
    /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)?(Z|[+-]\d\d:\d\d)?$/.exec(text) ?? [];
  const at = Date.parse(`${date}${clock}${zone}`);
  if (Number.isNaN(at)) {
    throw new UsageProblem(`--since: "${clean(text)}" is neither like 24h nor like 2026-01-31`);
  }
  return () => at;
}

function toData({ login, ...event }: AuditView) {
  const { id, kind, user, client, grant, reason } = event;
  return { id, at: time(event.at), kind, user, login, client, grant, reason };
}
