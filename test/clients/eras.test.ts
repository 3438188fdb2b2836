/**
 * The clients that people have, each as it comes, in front of a server of each era: the whole broker, one URL, a real
 * sign-in. Each lists and calls tools, is asked twice in one call, and hears of a list that changed.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { VersionNegotiationMode } from '@modelcontextprotocol/client';
import type { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { ElicitRequestSchema, ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { until } from '../fixtures/until.js';
import type { Person } from '../support/browser.js';
import { commandLine, root, startDemo } from '../support/demo.js';
import { startMcpRemote } from '../support/mcp-remote.js';
import { makeHome } from '../support/quiet-home.js';
import { callText, connectV1 } from '../support/sdk-v1.js';
import { connectV2 } from '../support/sdk-v2.js';

const ANSWERS: Readonly<Record<string, Record<string, string>>> = {
  'Step 1: What is your name?': { name: 'Ann' },
  'Step 2: What is your favorite color?': { color: 'blue' },
};

/** Who sits in front of a client: is asked, and told. */
class User {
  readonly asked: string[] = [];
  changes = 0;

  answer(question: string) {
    this.asked.push(question);
    return { action: 'accept' as const, content: ANSWERS[question] ?? {} };
  }
}

/** What any of them can do. */
interface App extends AsyncDisposable {
  listTools(): Promise<string[]>;
  /** The text of a tool's answer. */
  call(name: string): Promise<string>;
  /** The version it speaks with the broker; undefined when it does not say. */
  readonly version: () => string | undefined;
}

type Connect = (mcpUrl: string, person: Person, user: User) => Promise<App>;

function prepareV1(client: ClientV1, user: User): void {
  client.setRequestHandler(ElicitRequestSchema, ({ params }) => user.answer(params.message));
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => {
    user.changes += 1;
  });
}

const appOf = (client: ClientV1) => ({
  listTools: async () => (await client.listTools()).tools.map(({ name }) => name),
  call: (name: string) => callText(client, name),
});

const sdkV1: Connect = async (mcpUrl, person, user) => {
  const app = await connectV1(mcpUrl, person, {
    options: { capabilities: { elicitation: {} } },
    prepare: (client) => prepareV1(client, user),
  });
  return {
    ...appOf(app.client),
    version: () => app.transport.protocolVersion,
    [Symbol.asyncDispose]: () => app[Symbol.asyncDispose](),
  };
};

const mcpRemote =
  (...args: readonly string[]): Connect =>
  async (mcpUrl, person, user) => {
    const home = makeHome();
    const app = await startMcpRemote(mcpUrl, home, person, {
      args,
      options: { capabilities: { elicitation: {} } },
      prepare: (client) => prepareV1(client, user),
    });
    return {
      ...appOf(app.client),
      version: () => /Bridging to a modern server \{\s+version: '([\d-]+)'/.exec(app.log())?.[1],
      async [Symbol.asyncDispose]() {
        await app[Symbol.asyncDispose]();
        home[Symbol.dispose]();
      },
    };
  };

const sdkV2 =
  (mode: VersionNegotiationMode): Connect =>
  async (mcpUrl, person, user) => {
    const app = await connectV2(mcpUrl, person, {
      options: { capabilities: { elicitation: { form: {} } }, versionNegotiation: { mode } },
      prepare: (client) => {
        client.setRequestHandler('elicitation/create', ({ params }) => user.answer(params.message));
        client.setNotificationHandler('notifications/tools/list_changed', () => {
          user.changes += 1;
        });
      },
    });
    const { client } = app;
    if (mode !== 'legacy') await client.listen({ toolsListChanged: true });
    return {
      listTools: async () => (await client.listTools()).tools.map(({ name }) => name),
      call: async (name) => {
        const { content } = await client.callTool({ name, arguments: {} });
        return content.map((item) => (item.type === 'text' ? item.text : '')).join('\n');
      },
      version: () => client.getNegotiatedProtocolVersion(),
      [Symbol.asyncDispose]: () => app[Symbol.asyncDispose](),
    };
  };

/** With the version that each ends up with: its own choice, whatever the server speaks. */
const CLIENTS: readonly [string, Connect, string | undefined][] = [
  ['SDK v1', sdkV1, '2025-11-25'],
  ['SDK v2 as it was', sdkV2('legacy'), '2025-11-25'],
  ['SDK v2 that negotiates', sdkV2('auto'), '2026-07-28'],
  ['SDK v2 pinned to 2026-07-28', sdkV2({ pin: '2026-07-28' }), '2026-07-28'],
  ['mcp-remote as it comes', mcpRemote('--debug'), undefined],
  ['mcp-remote that negotiates', mcpRemote('--protocol', 'auto', '--debug'), '2026-07-28'],
];

for (const era of ['legacy', 'modern']) {
  test(`every client is served by a ${era} server`, async (t) => {
    const server = commandLine(process.execPath, join(root, `dist/test/fixtures/conformance-${era}.js`));
    await using demo = await startDemo({ server });
    for (const [name, connect, version] of CLIENTS) {
      await t.test(name, async () => {
        const user = new User();
        await using app = await connect(demo.mcpUrl, demo.user('alice'), user);
        assert.ok((await app.listTools()).includes('test_simple_text'));
        assert.match(await app.call('test_simple_text'), /simple text response/);
        assert.match(await app.call('test_input_required_result_multi_round'), /^Ann: .*blue/);
        assert.deepEqual(user.asked, Object.keys(ANSWERS));
        await until('the change', async () => {
          await app.call('test_trigger_tool_change');
          return user.changes > 0;
        });
        assert.equal(app.version(), version);
      });
    }
  });
}
