/** The list of tools that the broker asks for itself is read to its end, wherever that is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ToolHeaders } from '../../src/backend/tool-headers.js';
import type { RequestMessage } from '../../src/mcp/message.js';

/** A server with one tool a page, and what it was asked. */
function paged(...nextCursors: readonly (string | null | undefined)[]) {
  const asked: unknown[] = [];
  const list = ({ bytes }: RequestMessage) => {
    const page = asked.push(JSON.parse(bytes.toString()).params) - 1;
    const region = { type: 'string', 'x-mcp-header': 'Region' };
    const tools = [{ name: `t${page}`, inputSchema: { type: 'object', properties: { region } } }];
    const result = { tools, nextCursor: nextCursors[page] };
    return Promise.resolve(Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, result })));
  };
  return { asked, headers: new ToolHeaders(list) };
}

const ROWS: readonly (readonly [
  what: string,
  nextCursors: readonly (string | null | undefined)[],
  asked: unknown[],
])[] = [
  ['without a cursor', [undefined], [{}]],
  ['with the cursor null', [null], [{}]],
  ['after some pages', ['a"\u00e4', 'b', undefined], [{}, { cursor: 'a"\u00e4' }, { cursor: 'b' }]],
  ['not with an empty cursor, which is one', ['', undefined], [{}, { cursor: '' }]],
];

for (const [what, nextCursors, expected] of ROWS) {
  test(`a list of tools ends ${what}`, async () => {
    const { asked, headers } = paged(...nextCursors);
    assert.equal((await headers.of(`t${nextCursors.length - 1}`)).length, 1);
    assert.deepEqual(asked, expected);
  });
}

test('a list of tools that never ends is read no further than a hundred pages', async () => {
  const { asked, headers } = paged(...Array.from({ length: 200 }, () => 'on'));
  assert.equal((await headers.of('t99')).length, 1);
  assert.equal(asked.length, 100);
});
