#!/usr/bin/env node
/**
 * The demo's stdio MCP server: three tools over Forgejo's API, as the one user whose token is in its environment.
 * It takes no token from its arguments and ends with its standard input.
 */
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';

const REQUEST_MS = 30_000;

const user = z.object({ id: z.number(), login: z.string() });
const repository = z.object({ full_name: z.string(), private: z.boolean(), html_url: z.string() });
const issue = z.object({ number: z.number(), html_url: z.string() });
const problem = z.object({ message: z.string() });

/** Forgejo said no: its message is the tool's answer. */
class Refusal extends Error {}

class Forgejo {
  readonly #api: string;
  readonly #token: string;
  readonly #stop: AbortSignal;

  constructor(url: string, token: string, stop: AbortSignal) {
    this.#api = `${url.replace(/\/+$/, '')}/api/v1`;
    this.#token = token;
    this.#stop = stop;
  }

  async call<T>(shape: z.ZodType<T>, path: string, body?: object): Promise<T> {
    const response = await fetch(this.#api + path, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { authorization: `token ${this.#token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.any([this.#stop, AbortSignal.timeout(REQUEST_MS)]),
    });
    const answer: unknown = await response.json().catch(() => undefined);
    if (response.ok) return shape.parse(answer);
    throw new Refusal(problem.safeParse(answer).data?.message ?? `Forgejo answered ${response.status}`);
  }
}

function createServer(forgejo: Forgejo): McpServer {
  const server = new McpServer({ name: 'forgejo-demo', version: '1.0.0' });

  server.registerTool(
    'whoami',
    {
      description: 'Tells which Forgejo user this server acts as.',
      outputSchema: user.shape,
      annotations: { readOnlyHint: true },
    },
    () =>
      answer(async () => {
        const { id, login } = await forgejo.call(user, '/user');
        return { text: `You are ${login} (id ${id}).`, data: { id, login } };
      }),
  );

  server.registerTool(
    'list_my_repos',
    {
      description: 'Lists the repositories of the signed-in user, private ones included.',
      outputSchema: {
        repositories: z.array(z.object({ name: z.string(), private: z.boolean(), url: z.string() })),
      },
      annotations: { readOnlyHint: true },
    },
    () =>
      answer(async () => {
        const listed = await forgejo.call(z.array(repository), '/user/repos');
        const repositories = listed.map((found) => ({
          name: found.full_name,
          private: found.private,
          url: found.html_url,
        }));
        const lines = repositories.map((found) => `${found.name}${found.private ? ' (private)' : ''}`);
        return { text: lines.join('\n') || 'No repositories.', data: { repositories } };
      }),
  );

  server.registerTool(
    'create_issue',
    {
      description: 'Opens an issue in a repository.',
      inputSchema: {
        repo: z
          .string()
          .regex(/^[\w.-]+\/[\w.-]+$/)
          .describe('owner/name'),
        title: z.string().min(1),
        body: z.string().optional(),
      },
      outputSchema: { number: z.number(), url: z.string() },
      annotations: { destructiveHint: false },
    },
    ({ repo, title, body = '' }) =>
      answer(async () => {
        const made = await forgejo.call(issue, `/repos/${repo}/issues`, { title, body });
        const data = { number: made.number, url: made.html_url };
        return { text: `Opened #${data.number} in ${repo}: ${data.url}`, data };
      }),
  );
  return server;
}

async function answer(
  work: () => Promise<{ readonly text: string; readonly data: Record<string, unknown> }>,
): Promise<CallToolResult> {
  try {
    const { text, data } = await work();
    return { content: [{ type: 'text', text }], structuredContent: data };
  } catch (error) {
    const text = error instanceof Refusal ? error.message : `Forgejo could not be asked: ${String(error)}`;
    return { content: [{ type: 'text', text }], isError: true };
  }
}

const { FORGEJO_URL: url = '', FORGEJO_ACCESS_TOKEN: token = '' } = process.env;
if (url === '' || token === '') {
  process.stderr.write('FORGEJO_URL and FORGEJO_ACCESS_TOKEN must be set\n');
  process.exitCode = 1;
} else {
  const stop = new AbortController();
  const end = () => {
    stop.abort();
    process.stdin.destroy();
  };
  process.stdin.once('end', end);
  process.once('SIGTERM', end);
  await createServer(new Forgejo(url, token, stop.signal)).connect(new StdioServerTransport());
}
