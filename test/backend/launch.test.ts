/** What is started, with which arguments and environment, is decided before anything is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkServerEntry,
  isLaunchFault,
  parseCommandLine,
  planLaunch,
  resolveCommand,
} from '../../src/backend/launch.js';
import { access, TOKEN } from '../fixtures/bridge.js';

const HOST = { command: '/bin/x', path: '/bin', lang: 'C.UTF-8', home: '/tmp/home' };

/** `<user.id>` for the placeholder, which in a string literal looks like a mistake. */
const fillable = (text: string) => text.replace(/<([\w.]+)>/g, '$${$1}');

test('a command line is split as a shell splits it, and nothing in it is expanded', () => {
  const table: readonly (readonly [string, readonly string[]])[] = [
    ['forgejo-mcp --transport stdio', ['forgejo-mcp', '--transport', 'stdio']],
    ['  a\t b \n', ['a', 'b']],
    [`a 'b c' "d e"`, ['a', 'b c', 'd e']],
    [`a'b'"c"d`, ['abcd']],
    [`a '' ""`, ['a', '', '']],
    [String.raw`a\ b \"c\\`, ['a b', '"c\\']],
    [String.raw`"a\"b\\c\d"`, [String.raw`a"b\c\d`]],
    [String.raw`'a\b'`, [String.raw`a\b`]],
    ['echo $HOME `id` $(id) *;|&', ['echo', '$HOME', '`id`', '$(id)', '*;|&']],
  ];
  for (const [text, words] of table) assert.deepEqual(parseCommandLine(text), words, text);
});

test('a command line that a shell would not accept is a fault', () => {
  for (const text of ['', '  ', `a 'b`, `a "b`, 'a \\', `"a\\"`]) {
    assert.ok(isLaunchFault(parseCommandLine(text)), text);
  }
});

test('the environment is built from nothing', () => {
  const entry = { name: 's', command: 'x', args: [], env: {} };
  assert.deepEqual(planLaunch(entry, access(), HOST), {
    command: '/bin/x',
    args: [],
    env: {
      PATH: '/bin',
      HOME: '/tmp/home',
      LANG: 'C.UTF-8',
      FORGEJO_URL: 'https://forge.example',
      FORGEJO_ACCESS_TOKEN: TOKEN,
    },
    cwd: '/tmp/home',
  });
});

test('placeholders are filled once, in arguments and environment, and an entry may set what we would', () => {
  const env = {
    FORGEJO_ACCESS_TOKEN: '',
    MINE: fillable('Bearer <user.token>'),
    TWICE: fillable('<user.id>-<user.id>'),
  };
  const entry = {
    name: 's',
    command: 'x',
    args: [fillable('--as=<user.login>'), fillable('<upstream.url>/api'), '$user'],
    env,
  };
  const user = { id: '7', login: fillable('<user.token>') };
  const plan = planLaunch(entry, { ...access(), user }, HOST);
  assert.deepEqual(plan.args, [fillable('--as=<user.token>'), 'https://forge.example/api', '$user']);
  assert.equal(plan.env.FORGEJO_ACCESS_TOKEN, '');
  assert.equal(plan.env.MINE, `Bearer ${TOKEN}`);
  assert.equal(plan.env.TWICE, '7-7');
});

test('an entry is refused for the token in its arguments, and for what nobody could fill in', () => {
  const entry = {
    name: 's',
    command: '',
    args: [fillable('ok <user.login>'), fillable('--token=<user.token>'), fillable('<user.name>')],
    env: { OK: fillable('<user.token>'), BAD: fillable('<home>'), 'A=B': '', NUL: '\0' },
  };
  const problems = checkServerEntry(entry);
  assert.equal(problems.length, 6, problems.join('\n'));
  assert.ok(problems.every((problem) => problem.startsWith('server "s": ')));
  assert.deepEqual(checkServerEntry({ ...entry, command: 'x', args: ['a'], env: {} }), []);
});

test('a command is an executable file by its full path, or by its name in PATH', () => {
  assert.equal(resolveCommand('/bin/sh', ''), '/bin/sh');
  assert.match(String(resolveCommand('sh', '/nowhere:relative:/bin:/usr/bin')), /^\/bin\/sh$/);
  for (const [command, path, words] of [
    ['no-such-command', '/bin', 'command "no-such-command" was not found in PATH'],
    ['/bin', '/bin', 'is not an executable file'],
    ['/etc/passwd', '/bin', 'is not an executable file'],
    ['./sh', '/bin', 'must be an absolute path or a name in PATH'],
  ] as const) {
    const fault = resolveCommand(command, path);
    assert.ok(isLaunchFault(fault) && fault.launchFault.includes(words), JSON.stringify(fault));
  }
});
