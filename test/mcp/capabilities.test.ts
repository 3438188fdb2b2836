/** What a side can do is told to the other era in its own words, and nobody is asked for what they did not declare. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  declares,
  missingCapability,
  type Need,
  needOf,
  neutralClient,
  neutralServer,
} from '../../src/mcp/capabilities.js';
import { messageOf } from '../fixtures/modern.js';

const CLIENTS: readonly (readonly [what: string, modern: string, legacy: string])[] = [
  ['nothing', '{}', '{}'],
  ['sampling, as it came', '{"sampling":{"tools":{"n":1.0}}}', '{"sampling":{"tools":{"n":1.0}}}'],
  ['elicitation', '{"elicitation":{"url":{}}}', '{"elicitation":{"url":{}}}'],
  ['roots that change, which only a legacy client can say', '{"roots":{"listChanged":true}}', '{"roots":{}}'],
  ['experiments', '{"experimental":{"a":{}}}', '{"experimental":{"a":{}}}'],
  ['an extension of one era', '{"extensions":{"io.modelcontextprotocol/tasks":{}}}', '{}'],
  [
    'an extension of both',
    '{"extensions":{"a/b":{},"io.modelcontextprotocol/ui":{"mimeTypes":["x"]}}}',
    '{"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["x"]}}}',
  ],
  ['tasks, which are no capability of the era', '{"tasks":{},"custom":{}}', '{}'],
  ['what is no object', '{"sampling":true,"roots":null,"elicitation":"form"}', '{}'],
  ['something twice', '{"sampling":{},"sampling":{"tools":{}}}', '{}'],
];

for (const [what, modern, legacy] of CLIENTS) {
  test(`a client that declares ${what}, to a legacy server`, () =>
    assert.equal(neutralClient(modern), legacy));
}

const SERVERS: readonly (readonly [what: string, legacy: string, modern: string])[] = [
  ['nothing', '{}', '{}'],
  [
    'all there is',
    '{"logging":{},"tools":{"listChanged":true},"x":1.0}',
    '{"logging":{},"tools":{"listChanged":true},"x":1.0}',
  ],
  ['tasks', '{"tools":{},"tasks":{"list":{}}}', '{"tools":{}}'],
  ['only tasks', '{ "tasks" : {}}', '{ }'],
  ['an extension of one era', '{"extensions":{"a/b":{}},"tools":{}}', '{"tools":{}}'],
  [
    'an extension of both',
    '{"extensions":{"a/b":{},"io.modelcontextprotocol/ui":{}},"tasks":{},"tools":{}}',
    '{"extensions":{"io.modelcontextprotocol/ui":{}},"tools":{}}',
  ],
];

for (const [what, legacy, modern] of SERVERS) {
  test(`a server that declares ${what}, to a modern client`, () =>
    assert.equal(neutralServer(legacy), modern));
}

const ASKS: readonly (readonly [method: string, params: string, need: Need | undefined])[] = [
  ['roots/list', '{}', 'roots'],
  ['sampling/createMessage', '{"messages":[],"maxTokens":1}', 'sampling'],
  ['sampling/createMessage', '{"tools":[]}', 'sampling.tools'],
  ['sampling/createMessage', '{"toolChoice":{"mode":"none"}}', 'sampling.tools'],
  ['elicitation/create', '{"message":"?"}', 'elicitation.form'],
  ['elicitation/create', '{"mode":"form"}', 'elicitation.form'],
  ['elicitation/create', '{"mode":"url"}', 'elicitation.url'],
  ['elicitation/create', '{"mode":"__proto__"}', undefined],
  ['elicitation/create', '{"mode":{}}', undefined],
  ['ping', '{}', undefined],
  ['tasks/get', '{}', undefined],
];

for (const [method, params, need] of ASKS) {
  test(`${method} with ${params} needs ${need}`, () => {
    const ask = messageOf(`{"jsonrpc":"2.0","id":1,"method":"${method}","params":${params}}`);
    assert.ok(ask.kind === 'request');
    assert.equal(needOf(ask), need);
  });
}

const DECLARED: readonly (readonly [capabilities: string, needs: readonly Need[]])[] = [
  ['{}', []],
  ['{"roots":{}}', ['roots']],
  ['{"sampling":{}}', ['sampling']],
  ['{"sampling":{"tools":{}}}', ['sampling', 'sampling.tools']],
  ['{"sampling":{"tools":true}}', ['sampling']],
  ['{"elicitation":{}}', ['elicitation.form']],
  ['{"elicitation":{"form":{}}}', ['elicitation.form']],
  ['{"elicitation":{"url":{}}}', ['elicitation.url']],
  ['{"elicitation":{"form":{},"url":{}}}', ['elicitation.form', 'elicitation.url']],
  ['{"elicitation":null,"sampling":[],"roots":false}', []],
  ['{"__proto__":{"roots":{},"sampling":{}}}', []],
  ['{"r\\u006fots":{}}', ['roots']],
];
const NEEDS: readonly Need[] = ['roots', 'sampling', 'sampling.tools', 'elicitation.form', 'elicitation.url'];

for (const [capabilities, needs] of DECLARED) {
  test(`${capabilities} declares ${needs.join(' and ') || 'nothing'}`, () => {
    assert.deepEqual(
      NEEDS.filter((need) => declares(capabilities, need)),
      needs,
    );
  });
}

test('the error that names a missing capability names it as a client would declare it', () => {
  for (const need of NEEDS) {
    const { code, data } = missingCapability(need);
    assert.equal(code, -32021);
    assert.ok(declares(JSON.stringify(data?.requiredCapabilities), need), need);
  }
});
