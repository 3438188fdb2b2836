/** A modern child behind the face of a legacy server: each difference of the eras is a row. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fromChild, fromClient, type ModernChild, newModernChild } from '../../src/mcp/modern-child.js';
import { discoverRequest, membersOfEnvelope } from '../../src/mcp/modern-child-requests.js';
import { META } from '../../src/mcp/protocol.js';

// biome-ignore lint/suspicious/noExplicitAny: messages are looked at by the test that made them
type Message = any;

interface Said {
  readonly toChild: Message[];
  readonly toClient: Message[];
  /** The same, byte for byte. */
  readonly raw: { readonly toChild: string[]; readonly toClient: string[] };
}

/** A conversation through the state that is tested. */
class Talk {
  state: ModernChild;

  constructor(maxHeldBytes = 1_000_000) {
    this.state = newModernChild(maxHeldBytes);
  }

  client(message: object | string): Said {
    const text = typeof message === 'string' ? message : JSON.stringify({ jsonrpc: '2.0', ...message });
    return this.#step(fromClient(this.state, Buffer.from(`${text}\n`)));
  }

  child(message: object | string): Said {
    const text = typeof message === 'string' ? message : JSON.stringify({ jsonrpc: '2.0', ...message });
    return this.#step(fromChild(this.state, Buffer.from(text)));
  }

  #step({ state, toChild, toClient }: ReturnType<typeof fromClient>): Said {
    this.state = state;
    for (const line of toChild) assert.equal(line.indexOf('\n'), line.length - 1, 'one line for the child');
    const raw = {
      toChild: toChild.map((line) => line.toString().trimEnd()),
      toClient: toClient.map((line) => line.toString().trimEnd()),
    };
    const parsed = (lines: string[]) => lines.map((line) => JSON.parse(line));
    return {
      raw,
      get toChild() {
        return parsed(raw.toChild);
      },
      get toClient() {
        return parsed(raw.toClient);
      },
    };
  }
}

const CLIENT = { name: 'Kläus', version: '1' };
const DISCOVERED = {
  resultType: 'complete',
  supportedVersions: ['2026-07-28'],
  capabilities: {
    logging: {},
    tools: { listChanged: true },
    resources: { subscribe: true },
    extensions: { 'io.modelcontextprotocol/ui': {}, 'io.modelcontextprotocol/tasks': {} },
  },
  instructions: 'be kind',
  ttlMs: 1,
  cacheScope: 'public',
  _meta: { [META.serverInfo]: { name: 'modern', version: '2', title: 'M' } },
};
const ALL = { roots: { listChanged: true }, sampling: {}, elicitation: { form: {}, url: {} } };

const initialize = (capabilities: object = ALL, protocolVersion = '2025-06-18') => ({
  id: 1,
  method: 'initialize',
  params: { protocolVersion, capabilities, clientInfo: CLIENT },
});

/** One whose handshake is done; nothing is listened to, unless asked for. */
function greeted(capabilities: object = ALL, discovered: object = DISCOVERED, maxHeldBytes?: number): Talk {
  const talk = new Talk(maxHeldBytes);
  talk.client(initialize(capabilities));
  talk.child({ id: 1, result: discovered });
  return talk;
}

const envelope = (
  capabilities: object = { sampling: {}, elicitation: { form: {}, url: {} }, roots: {} },
) => ({
  [META.version]: '2026-07-28',
  [META.clientInfo]: CLIENT,
  [META.capabilities]: capabilities,
});

describe('the handshake', () => {
  test('initialize becomes server/discover, with the envelope of the client', () => {
    const { toChild, toClient } = new Talk().client(initialize());
    assert.deepEqual(toChild, [
      { jsonrpc: '2.0', id: 1, method: 'server/discover', params: { _meta: envelope() } },
    ]);
    assert.deepEqual(toClient, []);
  });

  test('a DiscoverResult becomes the InitializeResult', () => {
    const talk = new Talk();
    talk.client(initialize());
    const { toClient } = talk.child({ id: 1, result: DISCOVERED });
    assert.deepEqual(toClient, [
      {
        jsonrpc: '2.0',
        id: 1,
        result: {
          protocolVersion: '2025-06-18',
          capabilities: {
            logging: {},
            resources: { subscribe: true },
            tools: { listChanged: true },
            extensions: { 'io.modelcontextprotocol/ui': {} },
          },
          serverInfo: { name: 'modern', version: '2', title: 'M' },
          instructions: 'be kind',
        },
      },
    ]);
  });

  const VERSIONS: [asked: string, agreed: string][] = [
    ['2024-11-05', '2024-11-05'],
    ['2025-11-25', '2025-11-25'],
    ['2026-07-28', '2025-11-25'],
    ['1999-01-01', '2025-11-25'],
  ];
  for (const [asked, agreed] of VERSIONS) {
    test(`a client that asks for ${asked} gets ${agreed}`, () => {
      const talk = new Talk();
      talk.client(initialize({}, asked));
      assert.equal(talk.child({ id: 1, result: DISCOVERED }).toClient[0].result.protocolVersion, agreed);
    });
  }

  const CAPABILITIES: [what: string, given: object, sent: object][] = [
    ['tasks are gone', { tasks: { list: {} }, sampling: {} }, { sampling: {} }],
    ['roots no longer change', { roots: { listChanged: true } }, { roots: {} }],
    [
      'of extensions the neutral ones pass',
      { extensions: { 'io.modelcontextprotocol/ui': { a: 1 }, 'x.y/z': {} } },
      { extensions: { 'io.modelcontextprotocol/ui': { a: 1 } } },
    ],
    [
      'what is too long for every request is cut',
      { experimental: { x: 'y'.repeat(9000) }, roots: {} },
      { roots: {} },
    ],
  ];
  for (const [what, given, sent] of CAPABILITIES) {
    test(`of the client’s capabilities, ${what}`, () => {
      const [discover] = new Talk().client(initialize(given)).toChild;
      assert.deepEqual(discover.params._meta[META.capabilities], sent);
    });
  }

  test('a server without a name gets one', () => {
    const talk = new Talk();
    talk.client(initialize());
    const { toClient } = talk.child({ id: 1, result: { ...DISCOVERED, _meta: undefined } });
    assert.deepEqual(toClient[0].result.serverInfo, { name: 'mcp-server', version: '0' });
  });

  for (const [where, members] of [
    ['capabilities', (deep: string) => `"capabilities":{"experimental":{"a":${deep}}}`],
    ['name', (deep: string) => `"capabilities":{},"_meta":{"${META.serverInfo}":{"name":${deep}}}`],
  ] as const) {
    test(`an answer deeper than a message may be is unusable: its ${where}`, () => {
      const answer = (depth: number) => {
        const talk = new Talk();
        talk.client(initialize());
        const deep = '['.repeat(depth) + ']'.repeat(depth);
        const result = `{"resultType":"complete","supportedVersions":["2026-07-28"],${members(deep)}}`;
        return talk.child(`{"jsonrpc":"2.0","id":1,"result":${result}}`).toClient[0];
      };
      assert.equal(answer(900).result.protocolVersion, '2025-06-18');
      for (const depth of [1000, 20_000, 200_000]) assert.equal(answer(depth).error.code, -32603);
    });
  }

  test('what a client is called is told only as a text', () => {
    const padding = 'x'.repeat(5000);
    const info = { name: { toString: 1, valueOf: 1 }, version: '1', padding };
    const { toChild } = new Talk().client(
      `{"jsonrpc":"2.0","id":1,"method":"initialize","params":${JSON.stringify({
        protocolVersion: '2025-11-25',
        capabilities: {},
        clientInfo: info,
      })}}`,
    );
    assert.deepEqual(toChild[0].params._meta[META.clientInfo], { name: 'mcp-client', version: '1' });
  });

  test('a refusal of server/discover is the refusal of initialize', () => {
    const talk = new Talk();
    talk.client(initialize());
    const error = { code: -32603, message: 'no', data: [1] };
    assert.deepEqual(talk.child({ id: 1, error }).toClient, [{ jsonrpc: '2.0', id: 1, error }]);
  });

  test('a server that speaks no version we know is an error that names those it speaks', () => {
    const talk = new Talk();
    talk.client(initialize());
    const { toClient } = talk.child({ id: 1, result: { ...DISCOVERED, supportedVersions: ['2027-01-01'] } });
    assert.equal(toClient[0].error.code, -32022);
    assert.deepEqual(toClient[0].error.data.supported, ['2027-01-01']);
  });

  test('nothing but ping is answered before it', () => {
    const talk = new Talk();
    assert.equal(talk.client({ id: 2, method: 'tools/list' }).toClient[0].error.code, -32600);
    assert.deepEqual(talk.client({ id: 3, method: 'ping' }).toClient[0].result, {});
  });

  const SWALLOWED = ['notifications/roots/list_changed', 'notifications/progress', 'notifications/other'];
  for (const method of SWALLOWED) {
    test(`${method} of the client, which the new era does not know, goes nowhere`, () => {
      const { raw } = greeted().client({ method, params: { progressToken: 1, progress: 1 } });
      assert.deepEqual(raw, { toChild: [], toClient: [] });
    });
  }
});

test('a request of ours is one line, whatever white space a client’s words of itself have', () => {
  const members = membersOfEnvelope({
    version: '2026-07-28',
    clientInfo: '{\r\n"name":"x"}',
    capabilities: '{\n}',
  });
  const line = discoverRequest('1', members);
  assert.equal(line.indexOf('\n'), line.length - 1);
  assert.equal(line.indexOf('\r'), -1);
});

describe('the envelope', () => {
  const E = JSON.stringify(envelope({})).slice(1, -1);
  const rows: [what: string, request: string, sent: string][] = [
    [
      'stands first in params, which stay as they are',
      '{"jsonrpc":"2.0","id":2,"method":"x","params":{"big":12345678901234567890,"one":1.0,"t":"\\u00e4"}}',
      `{"jsonrpc":"2.0","id":2,"method":"x","params":{"_meta":{${E}},"big":12345678901234567890,"one":1.0,"t":"\\u00e4"}}`,
    ],
    [
      'is made with its params when there are none',
      '{"jsonrpc":"2.0","id":2,"method":"x"}',
      `{"jsonrpc":"2.0","id":2,"method":"x","params":{"_meta":{${E}}}}`,
    ],
    [
      'is made for empty params',
      '{"jsonrpc":"2.0","id":2,"method":"x","params":{ }}',
      `{"jsonrpc":"2.0","id":2,"method":"x","params":{"_meta":{${E}} }}`,
    ],
    [
      'takes the place of params that are null',
      '{"jsonrpc":"2.0","id":2,"method":"x","params":null}',
      `{"jsonrpc":"2.0","id":2,"method":"x","params":{"_meta":{${E}}}}`,
    ],
    [
      'joins what stands in _meta',
      '{"jsonrpc":"2.0","id":2,"method":"x","params":{"_meta": {"progressToken":7,"a.b/c":1.0},"z":1}}',
      `{"jsonrpc":"2.0","id":2,"method":"x","params":{"_meta": {${E},"progressToken":7,"a.b/c":1.0},"z":1}}`,
    ],
    [
      'joins an empty _meta',
      '{"jsonrpc":"2.0","id":2,"method":"x","params":{"_meta":{}}}',
      `{"jsonrpc":"2.0","id":2,"method":"x","params":{"_meta":{${E}}}}`,
    ],
  ];
  for (const [what, request, sent] of rows) {
    test(`of a request ${what}`, () => assert.deepEqual(greeted({}).client(request).raw.toChild, [sent]));
  }

  test('takes the place of the names of ours that a client uses', () => {
    const _meta = { [META.version]: '1', keep: 1, [META.capabilities]: { sampling: {} } };
    const { toChild } = greeted({}).client({ id: 2, method: 'x', params: { _meta } });
    assert.deepEqual(toChild[0].params._meta, { ...envelope({}), keep: 1 });
  });

  test('gains the log level once the client has set one', () => {
    const talk = greeted({});
    assert.equal(META.logLevel in talk.client({ id: 2, method: 'x' }).toChild[0].params._meta, false);
    const set = talk.client({ id: 3, method: 'logging/setLevel', params: { level: 'info' } });
    assert.deepEqual(set.toClient, [{ jsonrpc: '2.0', id: 3, result: {} }]);
    assert.deepEqual(set.toChild, []);
    assert.equal(talk.client({ id: 4, method: 'x' }).toChild[0].params._meta[META.logLevel], 'info');
  });

  test('does not gain a log level that there is not, nor one of a server without a log', () => {
    const talk = greeted();
    const set = { id: 3, method: 'logging/setLevel', params: { level: 'loud' } };
    assert.equal(talk.client(set).toClient[0].error.code, -32602);
    const quiet = greeted(ALL, { ...DISCOVERED, capabilities: {} });
    assert.equal(quiet.client(set).toClient[0].error.code, -32601);
  });
});

describe('a result', () => {
  const S = `"_meta":{"${META.serverInfo}":{"name":"m","version":"1"}}`;
  const rows: [what: string, method: string, answer: string, heard: string][] = [
    [
      'loses what is new',
      'tools/call',
      `{"resultType":"complete","content":[],"ttlMs":0,"cacheScope":"private",${S}}`,
      '{"content":[]}',
    ],
    ['is empty when all of it is new', 'x', `{ "resultType" : "complete" , ${S} , "ttlMs" : 5 }`, '{  }'],
    [
      'keeps the rest of _meta',
      'x',
      `{"_meta":{"a":1,"${META.serverInfo}":{},"b":2.0},"resultType":"complete","n":9007199254740993}`,
      '{"_meta":{"a":1,"b":2.0},"n":9007199254740993}',
    ],
    [
      'without anything new is itself',
      'x',
      '{"a":[1.0,{"resultType":"x"}]}',
      '{"a":[1.0,{"resultType":"x"}]}',
    ],
    [
      'of a tool loses structured content that is no object, which clients refuse',
      'tools/call',
      '{"resultType":"complete","content":[],"structuredContent":[1]}',
      '{"content":[]}',
    ],
    [
      'of a tool keeps structured content that is an object',
      'tools/call',
      '{"content":[],"structuredContent":{"a":1},"resultType":"complete"}',
      '{"content":[],"structuredContent":{"a":1}}',
    ],
    [
      'of tools/list loses output schemas that describe no object, which clients refuse',
      'tools/list',
      '{"tools":[{"name":"a","outputSchema":{"type":"array"}},{"name":"b","outputSchema":{"type":"object"}},{"outputSchema":{"anyOf":[]},"name":"c"}],"ttlMs":1}',
      '{"tools":[{"name":"a"},{"name":"b","outputSchema":{"type":"object"}},{"name":"c"}]}',
    ],
  ];
  for (const [what, method, answer, heard] of rows) {
    test(what, () => {
      const talk = greeted();
      talk.client({ id: 2, method, params: {} });
      const { raw } = talk.child(`{"jsonrpc":"2.0","id":2,"result":${answer}}`);
      assert.deepEqual(raw, { toChild: [], toClient: [`{"jsonrpc":"2.0","id":2,"result":${heard}}`] });
    });
  }

  test('of a type that nobody knows is an error', () => {
    const talk = greeted();
    talk.client({ id: 2, method: 'tools/call', params: { name: 'a' } });
    const { toClient } = talk.child({ id: 2, result: { resultType: 'task', taskId: '1' } });
    assert.deepEqual([toClient[0].id, toClient[0].error.code], [2, -32603]);
    assert.equal(talk.state.book.calls.size, 0);
  });

  const ERRORS: [what: string, method: string, error: object, code: number][] = [
    [
      'a resource that is not there is -32002',
      'resources/read',
      { code: -32602, message: 'x', data: { uri: 'a:b' } },
      -32002,
    ],
    ['other parameters of a resource are -32602', 'resources/read', { code: -32602, message: 'x' }, -32602],
    [
      'a tool that is not there is -32602',
      'tools/call',
      { code: -32602, message: 'x', data: { uri: 'a:b' } },
      -32602,
    ],
  ];
  for (const [what, method, error, code] of ERRORS) {
    test(`of an error: ${what}`, () => {
      const talk = greeted();
      talk.client({ id: 2, method, params: { uri: 'a:b' } });
      assert.deepEqual(talk.child({ id: 2, error }).toClient[0].error, { ...error, code });
    });
  }

  test('is handed on as it is when it is no message', () => {
    const talk = greeted();
    for (const noise of ['Server ready.', '[1]', '{"jsonrpc":"2.0"']) {
      assert.deepEqual(talk.child(noise).raw, { toChild: [], toClient: [noise] });
    }
  });

  test('comes without the requests of a child, which the new era does not know', () => {
    const { raw } = greeted().child({ id: 9, method: 'elicitation/create', params: {} });
    assert.deepEqual(raw, { toChild: [], toClient: [] });
  });
});

describe('a call that needs input', () => {
  const form = {
    method: 'elicitation/create',
    params: { message: 'who?', requestedSchema: { type: 'object' } },
  };
  const required = (inputRequests: object | undefined, requestState?: string) => ({
    resultType: 'input_required',
    inputRequests,
    requestState,
  });
  const call = {
    id: 2,
    method: 'tools/call',
    params: { _meta: { progressToken: 2 }, name: 'a', arguments: { n: 1 } },
  };
  const called = (capabilities: object = ALL) => {
    const talk = greeted(capabilities);
    talk.client(call);
    return talk;
  };

  test('asks the client, and comes back with answer and state under a new id', () => {
    const talk = called();
    const state = 'opaque "\\ é';
    const asked = talk.child({ id: 2, result: required({ 'the "name"': form }, state) });
    assert.equal(asked.toChild.length, 0);
    assert.deepEqual(
      asked.toClient.map(({ id: _, ...rest }) => rest),
      [{ jsonrpc: '2.0', ...form }],
    );
    const content = { name: 'Ann', big: 1 };
    const retried = talk.client({ id: asked.toClient[0].id, result: { action: 'accept', content } });
    const [again] = retried.toChild;
    assert.notEqual(again.id, 2);
    assert.equal(again.method, 'tools/call');
    assert.deepEqual(again.params, {
      _meta: { ...envelope(), progressToken: 2 },
      name: 'a',
      arguments: { n: 1 },
      inputResponses: { 'the "name"': { action: 'accept', content } },
      requestState: state,
    });
    const { toClient } = talk.child({ id: again.id, result: { resultType: 'complete', content: [] } });
    assert.deepEqual(toClient, [{ jsonrpc: '2.0', id: 2, result: { content: [] } }]);
    assert.deepEqual(
      [talk.state.book.calls.size, talk.state.book.retries.size, talk.state.book.asks.size],
      [0, 0, 0],
    );
    assert.equal(talk.state.book.held, 0);
  });

  test('passes questions and answers byte for byte', () => {
    const talk = called();
    const params = '{"message":"\\u00e4","requestedSchema":{"maximum":9007199254740993,"d":1.0}}';
    const asked = talk.child(
      `{"jsonrpc":"2.0","id":2,"result":{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":${params}}}}}`,
    );
    assert.ok(asked.raw.toClient[0]?.endsWith(`"params":${params}}`));
    const id = JSON.stringify(asked.toClient[0].id);
    const answer = '{"action":"accept","content":{"n":12345678901234567890}}';
    const { raw } = talk.client(`{"jsonrpc":"2.0","id":${id},"result":${answer}}`);
    assert.ok(raw.toChild[0]?.includes(`"inputResponses":{"a":${answer}}`));
    assert.ok(!raw.toChild[0]?.includes('requestState'));
  });

  test('waits for all answers of a round, and then goes on to the next', () => {
    const talk = called();
    const sampling = { method: 'sampling/createMessage', params: { messages: [], maxTokens: 1 } };
    const asked = talk.child({
      id: 2,
      result: required({ a: form, b: sampling, c: { method: 'roots/list' } }, 's'),
    });
    assert.deepEqual(
      asked.toClient.map(({ method }: Message) => method),
      ['elicitation/create', 'sampling/createMessage', 'roots/list'],
    );
    const [a, b, c] = asked.toClient;
    assert.deepEqual(talk.client({ id: c.id, result: { roots: [] } }).raw.toChild, []);
    assert.deepEqual(talk.client({ id: a.id, result: { action: 'decline' } }).raw.toChild, []);
    const [second] = talk.client({ id: b.id, result: { model: 'm' } }).toChild;
    assert.deepEqual(second.params.inputResponses, {
      a: { action: 'decline' },
      b: { model: 'm' },
      c: { roots: [] },
    });
    const more = talk.child({ id: second.id, result: required({ d: form }) });
    const [third] = talk.client({ id: more.toClient[0].id, result: { action: 'accept' } }).toChild;
    assert.deepEqual(Object.keys(third.params.inputResponses), ['d']);
    assert.equal('requestState' in third.params, false);
    assert.notEqual(third.id, second.id);
    assert.equal(talk.child({ id: third.id, result: {} }).toClient[0].id, 2);
  });

  test('is repeated at once when the child asks for nothing but that', () => {
    const talk = called();
    const { toChild, toClient } = talk.child({ id: 2, result: required(undefined, 's') });
    assert.deepEqual(toClient, []);
    assert.equal(toChild[0].params.requestState, 's');
    assert.equal('inputResponses' in toChild[0].params, false);
  });

  test('ends with an error after twenty rounds', () => {
    const talk = called();
    let id: unknown = 2;
    for (let round = 1; round <= 20; round += 1)
      id = talk.child({ id, result: required(undefined, 's') }).toChild[0].id;
    const { toChild, toClient } = talk.child({ id, result: required(undefined, 's') });
    assert.deepEqual(toChild, []);
    assert.deepEqual([toClient[0].id, toClient[0].error.code], [2, -32603]);
  });

  const IMPOSSIBLE: [what: string, capabilities: object, inputs: object | undefined, method?: string][] = [
    ['the client did not offer elicitation', { sampling: {} }, { a: form }],
    ['the client did not offer sampling', { elicitation: {} }, { a: { method: 'sampling/createMessage' } }],
    ['the client did not offer roots', { elicitation: {} }, { a: form, b: { method: 'roots/list' } }],
    [
      'the client offers forms only',
      { elicitation: { form: {} } },
      { a: { method: 'elicitation/create', params: { mode: 'url', url: 'https://a.example' } } },
    ],
    ['the client offers pages only', { elicitation: { url: {} } }, { a: form }],
    [
      'the client does not know tools in sampling',
      ALL,
      { a: { method: 'sampling/createMessage', params: { messages: [], tools: [] } } },
    ],
    [
      'it is to be asked in a mode that there is not',
      ALL,
      { a: { method: 'elicitation/create', params: { mode: 'voice', message: '?' } } },
    ],
    ['there is no such question', ALL, { a: { method: 'tools/list' } }],
    ['it is no request', ALL, { a: 5 }],
    ['there are too many', ALL, Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`${i}`, form]))],
    ['there are none, and no state', ALL, undefined],
    ['the method cannot need any', ALL, { a: form }, 'completion/complete'],
  ];
  for (const [what, capabilities, inputs, method = 'prompts/get'] of IMPOSSIBLE) {
    test(`ends with an error, and the client is not asked, when ${what}`, () => {
      const talk = greeted(capabilities);
      talk.client({ id: 2, method, params: { name: 'p' } });
      const { toChild, toClient } = talk.child({ id: 2, result: required(inputs) });
      assert.deepEqual(toChild, []);
      assert.equal(toClient.length, 1);
      assert.deepEqual([toClient[0].id, toClient[0].error.code], [2, -32603]);
      assert.equal(talk.state.book.calls.size, 0);
    });
  }

  test('by URL has an elicitationId for the client, as the old era wants it', () => {
    const talk = called();
    const params = { mode: 'url', message: 'go', url: 'https://a.example' };
    const { toClient } = talk.child({
      id: 2,
      result: required({ a: { method: 'elicitation/create', params } }),
    });
    const { elicitationId, ...rest } = toClient[0].params;
    assert.deepEqual(rest, params);
    assert.equal(typeof elicitationId, 'string');
  });

  test('takes a form that the client could not show for one that was not filled in', () => {
    const talk = called();
    const { toClient } = talk.child({ id: 2, result: required({ a: form }) });
    const { toChild } = talk.client({ id: toClient[0].id, error: { code: -32602, message: 'cannot' } });
    assert.deepEqual(toChild[0].params.inputResponses, { a: { action: 'cancel' } });
  });

  test('ends with the client’s own refusal of anything else, and takes its other questions back', () => {
    const talk = called();
    const { toClient } = talk.child({ id: 2, result: required({ a: form, b: { method: 'roots/list' } }) });
    const refused = talk.client({ id: toClient[1].id, error: { code: -1, message: 'not mine' } });
    const [cancelled, cancelledToo, error] = refused.toClient;
    assert.deepEqual(
      [cancelled.method, cancelled.params.requestId, cancelledToo.params.requestId],
      ['notifications/cancelled', toClient[0].id, toClient[1].id],
    );
    assert.equal(error.id, 2);
    assert.match(error.error.message, /roots\/list: not mine/);
    assert.deepEqual(talk.client({ id: toClient[0].id, result: { action: 'accept' } }).raw, {
      toChild: [],
      toClient: [],
    });
  });

  test('is cancelled under the id that the child knows', () => {
    const talk = called();
    const cancel = { method: 'notifications/cancelled', params: { requestId: 2, reason: 'enough' } };
    const { toChild } = talk.client(cancel);
    assert.deepEqual(toChild, [{ jsonrpc: '2.0', ...cancel }]);
    const again = called();
    const { id } = again.child({ id: 2, result: required(undefined, 's') }).toChild[0];
    const [told] = again.client(cancel).toChild;
    assert.deepEqual(told.params, { requestId: id, reason: 'enough' });
    assert.deepEqual(again.child({ id, result: { resultType: 'complete' } }).raw, {
      toChild: [],
      toClient: [],
    });
    assert.equal(again.state.book.retries.size, 0);
  });

  test('that is cancelled while the client is asked takes its questions back, and the child is not told', () => {
    const talk = called();
    const { toClient } = talk.child({ id: 2, result: required({ a: form }) });
    const { toChild, toClient: told } = talk.client({
      method: 'notifications/cancelled',
      params: { requestId: 2 },
    });
    assert.deepEqual(toChild, []);
    assert.deepEqual(
      told.map(({ params }: Message) => params),
      [{ requestId: toClient[0].id }],
    );
    assert.deepEqual(
      [talk.state.book.calls.size, talk.state.book.asks.size, talk.state.book.held],
      [0, 0, 0],
    );
  });

  test('is not kept for a retry beyond the bound, and is not asked for then', () => {
    const talk = greeted(ALL, DISCOVERED, 300);
    talk.client({ ...call, id: 2 });
    talk.client({ ...call, id: 3 });
    assert.equal(
      talk.child({ id: 2, result: required({ a: form }) }).toClient[0].method,
      'elicitation/create',
    );
    assert.equal(talk.child({ id: 3, result: required({ a: form }) }).toClient[0].error.code, -32603);
  });

  test('ends with an error when the answers are too long to be kept', () => {
    const talk = greeted(ALL, DISCOVERED, 300);
    talk.client(call);
    const { toClient } = talk.child({ id: 2, result: required({ a: form, b: form }) });
    const result = { action: 'accept', content: { it: 'x'.repeat(1000) } };
    const { toChild, toClient: told } = talk.client({ id: toClient[0].id, result });
    assert.deepEqual(toChild, []);
    assert.equal(told.at(-1).error.code, -32603);
    assert.equal(talk.state.book.held, 0);
  });

  test('keeps its progress', () => {
    const talk = called();
    const progress = { method: 'notifications/progress', params: { progressToken: 2, progress: 1 } };
    assert.deepEqual(talk.child(progress).toClient, [{ jsonrpc: '2.0', ...progress }]);
    const { toChild } = talk.child({ id: 2, result: required(undefined, 's') });
    assert.equal(toChild[0].params._meta.progressToken, 2);
  });
});

describe('subscriptions', () => {
  const acknowledge = (talk: Talk, listen: Message, notifications = listen.params.notifications) =>
    talk.child({
      method: 'notifications/subscriptions/acknowledged',
      params: { _meta: { [META.subscriptionId]: listen.id }, notifications },
    });
  const updated = (id: unknown, uri: string) => ({
    method: 'notifications/resources/updated',
    params: { _meta: { [META.subscriptionId]: id }, uri },
  });
  const subscribe = (id: number, uri: string) => ({ id, method: 'resources/subscribe', params: { uri } });
  const unsubscribe = (id: number, uri: string) => ({ id, method: 'resources/unsubscribe', params: { uri } });
  const INITIALIZED = { method: 'notifications/initialized' };
  const NO_LISTS = { ...DISCOVERED, capabilities: { resources: { subscribe: true } } };

  test('begin with the lists that may change, and report them as the old era did', () => {
    const talk = greeted();
    const { toChild } = talk.client(INITIALIZED);
    assert.deepEqual(toChild[0].params, { _meta: envelope(), notifications: { toolsListChanged: true } });
    acknowledge(talk, toChild[0]);
    const { raw } = talk.child({
      method: 'notifications/tools/list_changed',
      params: { _meta: { [META.subscriptionId]: toChild[0].id } },
    });
    assert.deepEqual(raw.toClient, [
      '{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}',
    ]);
  });

  test('are not opened when there is nothing to listen to', () => {
    assert.deepEqual(greeted(ALL, NO_LISTS).client(INITIALIZED).toChild, []);
  });

  test('are answered when the child has acknowledged them, the new stream before the old one ends', () => {
    const talk = greeted();
    const [first] = talk.client(INITIALIZED).toChild;
    acknowledge(talk, first);
    const asked = talk.client(subscribe(5, 'a:1'));
    assert.deepEqual(asked.toClient, []);
    const [second] = asked.toChild;
    assert.deepEqual(second.params.notifications, { toolsListChanged: true, resourceSubscriptions: ['a:1'] });
    const done = acknowledge(talk, second);
    assert.deepEqual(done.toClient, [{ jsonrpc: '2.0', id: 5, result: {} }]);
    assert.deepEqual(
      done.toChild.map(({ method, params }: Message) => [method, params]),
      [['notifications/cancelled', { requestId: first.id }]],
    );
    assert.deepEqual(talk.child(updated(first.id, 'a:1')).toClient, [], 'the old one is not heard');
    const { toClient } = talk.child(updated(second.id, 'a:1'));
    assert.deepEqual(toClient[0].params, { uri: 'a:1' });
  });

  test('that come while a stream is being opened wait for one that has them all', () => {
    const talk = greeted();
    const [first] = talk.client(INITIALIZED).toChild;
    for (let i = 1; i <= 9; i += 1)
      assert.deepEqual(talk.client(subscribe(i + 10, `a:${i}`)).raw, { toChild: [], toClient: [] });
    const { toChild, toClient } = acknowledge(talk, first);
    assert.deepEqual(toClient, []);
    assert.equal(toChild.length, 1);
    assert.equal(toChild[0].params.notifications.resourceSubscriptions.length, 9);
    const done = acknowledge(talk, toChild[0]);
    assert.equal(done.toClient.length, 9);
  });

  test('that are there already, or are not there, are answered at once', () => {
    const talk = greeted(ALL, NO_LISTS);
    acknowledge(talk, talk.client(subscribe(5, 'a:1')).toChild[0]);
    assert.deepEqual(talk.client(subscribe(6, 'a:1')).toClient, [{ jsonrpc: '2.0', id: 6, result: {} }]);
    assert.deepEqual(talk.client(unsubscribe(7, 'a:9')).toClient, [{ jsonrpc: '2.0', id: 7, result: {} }]);
  });

  test('end with the last of them', () => {
    const talk = greeted(ALL, NO_LISTS);
    const [listen] = talk.client(subscribe(5, 'a:1')).toChild;
    acknowledge(talk, listen);
    const { toChild, toClient } = talk.client(unsubscribe(6, 'a:1'));
    assert.deepEqual(toChild[0].params, { requestId: listen.id });
    assert.deepEqual(toClient, [{ jsonrpc: '2.0', id: 6, result: {} }]);
  });

  test('that are taken back before they are granted leave nobody without an answer', () => {
    const talk = greeted();
    const [first] = talk.client(INITIALIZED).toChild;
    talk.client(subscribe(5, 'a:1'));
    talk.client(unsubscribe(6, 'a:1'));
    const { toChild, toClient } = acknowledge(talk, first);
    assert.deepEqual(toChild, []);
    assert.deepEqual(
      toClient.map(({ id }: Message) => id),
      [5, 6],
    );
  });

  test('that the child does not grant are refused', () => {
    const talk = greeted(ALL, NO_LISTS);
    const [listen] = talk.client(subscribe(5, 'a:1')).toChild;
    const { toClient } = acknowledge(talk, listen, {});
    assert.deepEqual([toClient[0].id, toClient[0].error.code], [5, -32602]);
  });

  test('that the child refuses with an error have that error', () => {
    const talk = greeted(ALL, NO_LISTS);
    const [listen] = talk.client(subscribe(5, 'a:1')).toChild;
    const { toClient } = talk.child({ id: listen.id, error: { code: -32603, message: 'full' } });
    assert.deepEqual(toClient, [{ jsonrpc: '2.0', id: 5, error: { code: -32603, message: 'full' } }]);
    assert.equal(
      talk.client(subscribe(6, 'a:2')).toChild[0].params.notifications.resourceSubscriptions.length,
      1,
    );
  });

  test('of a server that has none are refused without a word to it', () => {
    const talk = greeted(ALL, { ...DISCOVERED, capabilities: {} });
    const { toChild, toClient } = talk.client(subscribe(5, 'a:1'));
    assert.deepEqual(toChild, []);
    assert.equal(toClient[0].error.code, -32601);
  });

  test('that nobody acknowledges can be given up, and asked for anew', () => {
    const talk = greeted(ALL, NO_LISTS);
    const [stuck] = talk.client(subscribe(5, 'a:1')).toChild;
    const { toChild } = talk.client({ method: 'notifications/cancelled', params: { requestId: 5 } });
    assert.deepEqual(toChild[0].params, { requestId: stuck.id });
    const [again] = talk.client(subscribe(6, 'a:1')).toChild;
    assert.notEqual(again.id, stuck.id);
    assert.deepEqual(acknowledge(talk, stuck).toClient, []);
    assert.equal(acknowledge(talk, again).toClient[0].id, 6);
  });

  test('that were granted before stay when asking for them again is given up', () => {
    const talk = greeted(ALL, NO_LISTS);
    acknowledge(talk, talk.client(subscribe(5, 'a:1')).toChild[0]);
    talk.client(subscribe(6, 'a:2'));
    talk.client(subscribe(7, 'a:1'));
    const { toChild } = talk.client({ method: 'notifications/cancelled', params: { requestId: 7 } });
    assert.deepEqual(toChild[0].params.notifications.resourceSubscriptions, ['a:1', 'a:2']);
  });

  test('that were there before the lists are joined by them', () => {
    const talk = greeted();
    acknowledge(talk, talk.client(subscribe(5, 'a:1')).toChild[0]);
    assert.deepEqual(talk.client(INITIALIZED).toChild[0].params.notifications, {
      toolsListChanged: true,
      resourceSubscriptions: ['a:1'],
    });
  });

  test('that the child ends are opened again, but not for ever', () => {
    const talk = greeted(ALL, NO_LISTS);
    let [listen] = talk.client(subscribe(5, 'a:1')).toChild;
    for (let i = 0; i < 10; i += 1) {
      acknowledge(talk, listen);
      const end =
        i % 2 === 0
          ? { id: listen.id, result: { resultType: 'complete', _meta: { [META.subscriptionId]: listen.id } } }
          : { method: 'notifications/cancelled', params: { requestId: listen.id } };
      [listen] = talk.child(end).toChild;
      assert.ok(listen, `after ${i}`);
    }
    acknowledge(talk, listen);
    assert.deepEqual(talk.child({ id: listen.id, result: {} }).raw, { toChild: [], toClient: [] });
  });

  test('are a thousand at most, of a bounded length', () => {
    const talk = greeted();
    talk.client(INITIALIZED);
    for (let i = 0; i < 1000; i += 1) talk.client(subscribe(i + 10, `a:${i}`));
    assert.equal(talk.client(subscribe(5000, 'a:x')).toClient[0].error.code, -32603);
    const long = greeted().client(subscribe(5, `a:${'x'.repeat(2048)}`));
    assert.equal(long.toClient[0].error.code, -32603);
  });

  test('are not asked for by the names of the new era', () => {
    const { toChild, toClient } = greeted().client({ id: 2, method: 'subscriptions/listen', params: {} });
    assert.deepEqual(toChild, []);
    assert.equal(toClient[0].error.code, -32601);
  });

  test('without their id pass as they are', () => {
    const message = { method: 'notifications/tools/list_changed' };
    assert.deepEqual(greeted().child(message).toClient, [{ jsonrpc: '2.0', ...message }]);
  });
});
