#!/usr/bin/env node
/**
 * The stdio MCP server of the chaos test. Every answer repeats the caller's marker and says whose child gave it; some
 * calls are slow, large, or report progress, and `whoami` asks Forgejo whose token this is.
 */
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

interface Request {
  readonly id?: unknown;
  readonly method?: string;
  readonly params?: {
    readonly name?: string;
    readonly arguments?: Arguments;
    readonly protocolVersion?: string;
    readonly _meta?: { readonly progressToken?: unknown };
  };
}

interface Arguments {
  readonly marker: string;
  readonly ms?: number;
  readonly bytes?: number;
}

const PROGRESS_STEPS = 4;
const FORGEJO_MS = 3000;

const { FORGEJO_URL: url = '', FORGEJO_ACCESS_TOKEN: token = '', CHAOS_USER: login = '' } = process.env;
/** In a sandbox every child has the same pid. */
const child = randomBytes(6).toString('hex');
const { exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { exp: number };

const write = (message: object): void =>
  void process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);

async function whoami(): Promise<object> {
  try {
    const response = await fetch(`${url}/api/v1/user`, {
      headers: { authorization: `token ${token}` },
      signal: AbortSignal.timeout(FORGEJO_MS),
    });
    const body = (await response.json()) as { readonly login?: string };
    return { status: response.status, login: body.login, stillGood: Date.now() < exp * 1000 };
  } catch {
    return { status: 0 };
  }
}

async function callTool(id: unknown, params: NonNullable<Request['params']>): Promise<void> {
  const deadFor = Date.now() - exp * 1000;
  const { marker, ms = 0, bytes = 0 }: Arguments = params.arguments ?? { marker: '' };
  const progressToken = params._meta?.progressToken;
  for (let progress = 1; progressToken !== undefined && progress <= PROGRESS_STEPS; progress += 1) {
    write({ method: 'notifications/progress', params: { progressToken, progress, message: marker } });
    await sleep(ms / PROGRESS_STEPS);
  }
  if (progressToken === undefined && ms > 0) await sleep(ms);
  const forgejo = params.name === 'whoami' ? await whoami() : undefined;
  const padding = marker.repeat(Math.ceil(bytes / marker.length));
  const text = JSON.stringify({ marker, login, child, deadFor, forgejo, padding });
  write({ id, result: { content: [{ type: 'text', text }] } });
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method, params = {} } = JSON.parse(line) as Request;
  if (id === undefined) return;
  if (method === 'tools/call') void callTool(id, params);
  else if (method === 'initialize')
    write({
      id,
      result: {
        protocolVersion: params.protocolVersion,
        capabilities: { tools: {} },
        serverInfo: { name: 'chaos', version: '1' },
      },
    });
  else write({ id, result: {} });
});
