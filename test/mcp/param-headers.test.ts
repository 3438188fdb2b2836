/** Tool parameters that are repeated in headers: which ones a list of tools names, and which calls are refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeHeader } from '../../src/mcp/header-values.js';
import { checkParamHeaders, readToolHeaders } from '../../src/mcp/param-headers.js';
import { headersOf, modernRequest, modernText, readModern } from '../fixtures/modern.js';

const list = (...tools: unknown[]) =>
  Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, result: { tools } }));
const tool = (inputSchema: unknown, name = 't') => ({ name, inputSchema });
const object = (properties: object) => ({ type: 'object', properties });
const region = { type: 'string', 'x-mcp-header': 'Region' };

const SCHEMAS: readonly (readonly [what: string, schema: unknown, headers: unknown])[] = [
  ['no annotation', object({ a: { type: 'string' } }), undefined],
  ['one', object({ a: region }), [{ path: ['a'], header: 'mcp-param-region' }]],
  [
    'one in an object',
    object({ a: object({ 'b.c': region }) }),
    [{ path: ['a', 'b.c'], header: 'mcp-param-region' }],
  ],
  [
    'an integer and a boolean',
    object({ n: { type: 'integer', 'x-mcp-header': 'N' }, b: { type: 'boolean', 'x-mcp-header': 'B' } }),
    [
      { path: ['n'], header: 'mcp-param-n' },
      { path: ['b'], header: 'mcp-param-b' },
    ],
  ],
  [
    'a parameter of that name',
    object({ 'x-mcp-header': { ...region } }),
    [{ path: ['x-mcp-header'], header: 'mcp-param-region' }],
  ],
  [
    'the word among the values',
    { ...object({}), examples: [{ 'x-mcp-header': 'R' }], default: region },
    undefined,
  ],
  ['no object', 'x-mcp-header', undefined],
];

for (const [what, schema, headers] of SCHEMAS) {
  test(`a schema with ${what} is read`, () => {
    const { headers: found, malformed } = readToolHeaders(list(tool(schema)));
    assert.deepEqual(found.get('t'), headers);
    assert.equal(malformed.size, 0);
  });
}

test('a parameter called __proto__ is a parameter', () => {
  const schema = `{"properties":{"__proto__":{"type":"string","x-mcp-header":"P"}}}`;
  const answer = Buffer.from(`{"result":{"tools":[{"name":"__proto__","inputSchema":${schema}}]}}`);
  assert.deepEqual(readToolHeaders(answer).headers.get('__proto__'), [
    { path: ['__proto__'], header: 'mcp-param-p' },
  ]);
});

test('an annotation spelled with escapes is one', () => {
  const answer = Buffer.from(
    list(tool(object({ a: region })))
      .toString()
      .replace('x-mcp', '\\u0078-mcp'),
  );
  assert.equal(readToolHeaders(answer).headers.size, 1);
});

const annotated = (count: number) =>
  object(
    Object.fromEntries(
      Array.from({ length: count }, (_, i) => [`a${i}`, { ...region, 'x-mcp-header': `H${i}` }]),
    ),
  );

test('a tool may have as many headers as fit into a request', () => {
  assert.equal(readToolHeaders(list(tool(annotated(64)))).headers.get('t')?.length, 64);
});

const MALFORMED: readonly (readonly [what: string, schema: unknown])[] = [
  ['an empty name', object({ a: { ...region, 'x-mcp-header': '' } })],
  ['a name with a space', object({ a: { ...region, 'x-mcp-header': 'a b' } })],
  ['a name with a colon', object({ a: { ...region, 'x-mcp-header': 'a:b' } })],
  ['a name with a line break', object({ a: { ...region, 'x-mcp-header': 'a\r\nb' } })],
  ['a name with a line break at its end', object({ a: { ...region, 'x-mcp-header': 'a\n' } })],
  ['a name beyond ASCII', object({ a: { ...region, 'x-mcp-header': 'é' } })],
  ['a name that is no string', object({ a: { ...region, 'x-mcp-header': 1 } })],
  ['one name twice', object({ a: region, b: { ...region, 'x-mcp-header': 'REGION' } })],
  ['more headers than fit into a request', annotated(65)],
  ['twenty thousand headers', annotated(20_000)],
  ['a number', object({ a: { ...region, type: 'number' } })],
  ['an object', object({ a: { ...region, type: 'object' } })],
  ['no type', object({ a: { 'x-mcp-header': 'A' } })],
  ['several types', object({ a: { ...region, type: ['string', 'null'] } })],
  ['it on itself', { ...object({}), ...region }],
  ['it on items', object({ a: { type: 'array', items: region } })],
  ['it below items', object({ a: { type: 'array', items: object({ b: region }) } })],
  ['it in a choice', { oneOf: [object({ a: region })] }],
  ['it in a definition', { $defs: { a: region } }],
  ['it in a condition', { if: object({ a: region }) }],
];

for (const [what, schema] of MALFORMED) {
  test(`a schema with ${what} is malformed, and the tools beside it are not`, () => {
    const { headers, malformed } = readToolHeaders(list(tool(schema), tool(object({ a: region }), 'good')));
    assert.deepEqual([...malformed.keys()], ['t']);
    assert.deepEqual([...headers.keys()], ['good']);
  });
}

test('a schema deeper than anybody looks is malformed where it may hide an annotation', () => {
  for (const [opening, closing] of [
    ['{"items":', '}'],
    ['{"properties":{"a":', '}}'],
  ] as const) {
    const depth = 20_000;
    const schema = opening.repeat(depth) + JSON.stringify(region) + closing.repeat(depth);
    const answer = Buffer.from(`{"result":{"tools":[{"name":"t","inputSchema":${schema}}]}}`);
    assert.deepEqual([...readToolHeaders(answer).malformed.keys()], ['t']);
  }
});

test('what is no list of tools has no headers', () => {
  for (const text of [
    '',
    'x-mcp-header',
    '{"error":{"message":"x-mcp-header"}}',
    '{"result":{"tools":{"x-mcp-header":1}}}',
    '{"result":{"tools":["x-mcp-header",{"name":1,"inputSchema":{}},{"inputSchema":{"x-mcp-header":"a"}}]}}',
    '{"result":{"tools":[{"name":"t","name":"t","inputSchema":{"x-mcp-header":"a"}}]}}',
  ]) {
    const { headers, malformed } = readToolHeaders(Buffer.from(text));
    assert.equal(headers.size + malformed.size, 0, text);
  }
});

const VALUES: readonly (readonly [header: string, text: string | undefined])[] = [
  ['us-west1', 'us-west1'],
  ['', ''],
  ['=?base64?SGVsbG8=?=', 'Hello'],
  ['=?base64??=', ''],
  ['=?base64?SGVsbG8sIOS4lueVjA==?=', 'Hello, 世界'],
  ['=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=', '=?base64?literal?='],
  ['=?base64?SGVsbG8?=', undefined],
  ['=?base64?SGVs!!!bG8=?=', undefined],
  ['=?base64?SGVs-_8=?=', undefined],
  ['=?base64?/w==?=', undefined],
  ['=?BASE64?SGVsbG8=?=', '=?BASE64?SGVsbG8=?='],
  ['=?base64?SGVsbG8=', '=?base64?SGVsbG8='],
  ['SGVsbG8=?=', 'SGVsbG8=?='],
  ['=?base64?=', '=?base64?='],
  ['caf\xe9', undefined],
  ['a\u0000b', undefined],
];

for (const [header, text] of VALUES) {
  test(`the header value ${JSON.stringify(header)} stands for ${JSON.stringify(text)}`, () => {
    assert.equal(decodeHeader(header), text);
  });
}

const EXPECTED = [
  { path: ['region'], header: 'mcp-param-region' },
  { path: ['more', 'größe'], header: 'mcp-param-size' },
];
const size = (raw: string) => `{"more":{"größe":${raw}}}`;

const CALLS: readonly (readonly [
  what: string,
  args: string,
  headers: Readonly<Record<string, string>>,
  code: number | undefined,
])[] = [
  ['nothing on either side', '{}', {}, undefined],
  ['the same on both sides', '{"region":"eu"}', { 'mcp-param-region': 'eu' }, undefined],
  ['the same, encoded', '{"region":"Hello"}', { 'mcp-param-region': '=?base64?SGVsbG8=?=' }, undefined],
  ['an empty text', '{"region":""}', { 'mcp-param-region': '=?base64??=' }, undefined],
  ['another value', '{"region":"eu"}', { 'mcp-param-region': 'us' }, -32020],
  ['the value in capitals', '{"region":"eu"}', { 'mcp-param-region': 'EU' }, -32020],
  ['broken padding', '{"region":"Hello"}', { 'mcp-param-region': '=?base64?SGVsbG8?=' }, -32020],
  ['no header', '{"region":"eu"}', {}, -32020],
  ['no argument', '{}', { 'mcp-param-region': 'eu' }, -32020],
  ['null, and no header', '{"region":null}', {}, undefined],
  ['null, and a header', '{"region":null}', { 'mcp-param-region': 'null' }, -32020],
  ['an integer', size('42'), { 'mcp-param-size': '42' }, undefined],
  ['an integer written as a fraction', size('42.0'), { 'mcp-param-size': '42' }, undefined],
  ['an integer written with an exponent', size('42'), { 'mcp-param-size': '4.2e1' }, undefined],
  ['another integer', size('42'), { 'mcp-param-size': '43' }, -32020],
  [
    'integers that only look the same to JavaScript',
    size('9007199254740993'),
    { 'mcp-param-size': '9007199254740992' },
    -32020,
  ],
  [
    'a large integer, to the letter',
    size('9007199254740993'),
    { 'mcp-param-size': '9007199254740993' },
    undefined,
  ],
  ['zero, and an empty header', size('0'), { 'mcp-param-size': '' }, -32020],
  ['an integer in another base', size('16'), { 'mcp-param-size': '0x10' }, -32020],
  ['a boolean', '{"region":true}', { 'mcp-param-region': 'true' }, undefined],
  ['a boolean in capitals', '{"region":true}', { 'mcp-param-region': 'True' }, -32020],
  ['a text that looks like a number', '{"region":"1.0"}', { 'mcp-param-region': '1' }, -32020],
  ['an array without a header', '{"region":["eu"]}', {}, -32020],
  ['a step that is no object', '{"more":"x"}', {}, undefined],
  ['a header that no parameter names', '{}', { 'mcp-param-other': 'x' }, undefined],
  ['the argument twice', '{"region":"eu","region":"us"}', { 'mcp-param-region': 'eu' }, -32602],
  [
    'the argument twice, once with escapes',
    '{"region":"eu","r\\u0065gion":"us"}',
    { 'mcp-param-region': 'eu' },
    -32602,
  ],
  ['the argument with escapes', '{"r\\u0065gion":"e\\u0075"}', { 'mcp-param-region': 'eu' }, undefined],
  ['arguments that are no object', '[]', {}, undefined],
];

for (const [what, args, headers, code] of CALLS) {
  test(`a call with ${what}: ${code ?? 'passes'}`, () => {
    const request = readModern(
      modernText('tools/call', { name: 't', arguments: 0 }).replace('"arguments":0', `"arguments":${args}`),
    );
    assert.equal(checkParamHeaders(EXPECTED, request, headersOf(headers))?.code, code);
  });
}

test('many headers read many arguments once', () => {
  const names = Array.from({ length: 64 }, (_, i) => `a${i}`);
  const args = Object.fromEntries(Array.from({ length: 9999 }, (_, i) => [`a${i}`, `${i}`]));
  const request = modernRequest('tools/call', { name: 't', arguments: { in: args } });
  const expected = names.map((name) => ({ path: ['in', name], header: `mcp-param-${name}` }));
  const given = headersOf(Object.fromEntries(names.map((name, i) => [`mcp-param-${name}`, `${i}`])));
  assert.equal(checkParamHeaders(expected, request, given), undefined);
  assert.equal(checkParamHeaders(expected, request, headersOf({}))?.code, -32020);
});

test('a call without arguments has nothing to repeat', () => {
  const request = modernRequest('tools/call', { name: 't' });
  assert.equal(checkParamHeaders(EXPECTED, request, headersOf({})), undefined);
});
