#!/usr/bin/env node
/**
 * The stdio MCP server of the chaos test, of the legacy era. Every answer repeats the caller's marker and says whose child
 * gave it; some calls are slow, large, report progress, ask their client something or change a resource, and `whoami` asks
 * Forgejo whose token this is.
 */
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

interface Message {
  readonly id?: unknown;
  readonly method?: string;
  readonly params?: {
    readonly name?: string;
    readonly arguments?: Arguments;
    readonly protocolVersion?: string;
    readonly requestId?: unknown;
    readonly uri?: string;
    readonly _meta?: { readonly progressToken?: unknown };
  };
  readonly result?: { readonly content?: { readonly word?: string } };
  readonly error?: { readonly code: number };
}

interface Arguments {
  readonly marker: string;
  readonly ms?: number;
  readonly bytes?: number;
  /** How often it asks, one after the other. */
  readonly questions?: number;
}

const PROGRESS_STEPS = 4;
const FORGEJO_MS = 3000;

const { FORGEJO_URL: url = '', FORGEJO_ACCESS_TOKEN: token = '', CHAOS_USER: login = '' } = process.env;
/** In a sandbox every child has the same pid. */
const child = randomBytes(6).toString('hex');
const { exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { exp: number };

/** By id, the markers of the calls it works on. */
const underWay = new Map<unknown, string>();
const answers = new Map<unknown, (answer: Message) => void>();
const watched = new Set<string>();
const everGiven = new Set<string>();
const givenAgain: string[] = [];
let given: string[] = [];
let cancelled: string[] = [];
let asked = 0;

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

/** The word that came back, or that none did. */
function ask(marker: string, word: string): Promise<string> {
  asked += 1;
  const id = `ask-${asked}`;
  const message = JSON.stringify({ login, child, marker, word, goodUntil: exp * 1000 });
  const requestedSchema = { type: 'object', properties: { word: { type: 'string' } } };
  write({ id, method: 'elicitation/create', params: { message, requestedSchema } });
  return new Promise((resolve) => {
    answers.set(id, ({ result, error }) => {
      answers.delete(id);
      resolve(error === undefined ? (result?.content?.word ?? '') : `error ${error.code}`);
    });
  });
}

async function callTool(id: unknown, params: NonNullable<Message['params']>): Promise<void> {
  const deadFor = Date.now() - exp * 1000;
  const { marker, ms = 0, bytes = 0, questions = 0 }: Arguments = params.arguments ?? { marker: '' };
  underWay.set(id, marker);
  given.push(marker);
  if (everGiven.has(marker)) givenAgain.push(marker);
  everGiven.add(marker);
  const progressToken = params._meta?.progressToken;
  for (let progress = 1; progressToken !== undefined && progress <= PROGRESS_STEPS; progress += 1) {
    if (underWay.has(id))
      write({ method: 'notifications/progress', params: { progressToken, progress, message: marker } });
    await sleep(ms / PROGRESS_STEPS);
  }
  if (progressToken === undefined && ms > 0) await sleep(ms);
  const forgejo = params.name === 'whoami' ? await whoami() : undefined;
  const heard: string[] = [];
  while (heard.length < questions && underWay.has(id))
    heard.push(await ask(marker, `${marker}?${heard.length + 1}`));
  if (params.name === 'touch')
    for (const uri of watched) write({ method: 'notifications/resources/updated', params: { uri, marker } });
  if (!underWay.delete(id)) return;
  const padding = marker.repeat(Math.ceil(bytes / marker.length));
  const words = { marker, login, child, deadFor, forgejo, heard, watched: [...watched] };
  const text = JSON.stringify({ ...words, given, givenAgain, cancelled, padding });
  [given, cancelled] = [[], []];
  write({ id, result: { content: [{ type: 'text', text }] } });
}

function cancel(id: unknown): void {
  const marker = underWay.get(id);
  if (marker === undefined) return;
  underWay.delete(id);
  cancelled.push(marker);
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const message = JSON.parse(line) as Message;
  const { id, method, params = {} } = message;
  if (method === undefined) answers.get(id)?.(message);
  else if (method === 'notifications/cancelled') cancel(params.requestId);
  if (id === undefined || method === undefined) return;
  if (method === 'resources/subscribe') watched.add(params.uri ?? '');
  if (method === 'resources/unsubscribe') watched.delete(params.uri ?? '');
  if (method === 'tools/call') void callTool(id, params);
  else if (method === 'initialize')
    write({
      id,
      result: {
        protocolVersion: params.protocolVersion,
        capabilities: { tools: {}, resources: { subscribe: true } },
        serverInfo: { name: 'chaos', version: '1' },
      },
    });
  else if (method === 'tools/list') write({ id, result: { tools: [] } });
  else write({ id, result: {} });
});
