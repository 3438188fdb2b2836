/** As child.c, for where there is no C compiler. */
const MAX_TEXT = 16 * 1024 * 1024;
const NOT_FOUND = -1;
const WORDS = 'all that is read here is words, and more of them; ';

let rest = '';

function answer(line: string): string {
  const at = line.indexOf('"id":');
  if (at === NOT_FOUND) return '';
  const id = /^(?:"[^"]*"|[^,}]*)/.exec(line.slice(at + 5))?.[0] ?? '';
  return `{"jsonrpc":"2.0","id":${id},"result":${resultOf(line)}}\n`;
}

function resultOf(line: string): string {
  if (line.includes('"tools/call"')) {
    const bytes = Number(/"bytes":(\d+)/.exec(line)?.[1] ?? 0);
    return `{"content":[{"type":"text","text":"pong${textOf(Math.min(bytes, MAX_TEXT))}"}]}`;
  }
  if (line.includes('"initialize"')) {
    const version = /"protocolVersion":"([^"]*)"/.exec(line)?.[1] ?? '2025-06-18';
    return `{"capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"},"protocolVersion":"${version}"}`;
  }
  if (line.includes('"tools/list"')) return '{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}';
  return '{}';
}

function textOf(length: number): string {
  return WORDS.repeat(Math.ceil(length / WORDS.length)).slice(0, length);
}

process.stdin.setEncoding('latin1').on('data', (chunk: string) => {
  const lines = (rest + chunk).split('\n');
  rest = lines.pop() ?? '';
  const answers = lines.map(answer).join('');
  if (answers !== '') process.stdout.write(answers);
});
