/**
 * What Node can do at the least: `node:http` in front of one stdio child, and nothing else. No authentication, no checks, ids
 * passed on as they are, so they must be unique. `node relay.js COMMAND` prints its port.
 */
import { spawn } from 'node:child_process';
import { createServer, type ServerResponse } from 'node:http';

const LF = 0x0a;
const ID = '"id":';
/** The child answers with its id first. */
const ID_WITHIN = 64;

interface Session {
  write(line: Buffer): void;
  readonly waiting: Map<string, ServerResponse>;
}

const [command = '', ...args] = process.argv.slice(2);
const sessions = new Map<string, Session>();

function open(): Session {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const waiting = new Map<string, ServerResponse>();
  let parts: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => {
    let from = 0;
    for (let at = chunk.indexOf(LF); at !== -1; at = chunk.indexOf(LF, from)) {
      parts.push(chunk.subarray(from, at));
      answer(parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts));
      parts = [];
      from = at + 1;
    }
    if (from < chunk.length) parts.push(chunk.subarray(from));
  });
  const answer = (line: Buffer) => {
    const id = idOf(line.toString('latin1', 0, ID_WITHIN));
    const response = waiting.get(id);
    waiting.delete(id);
    response?.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': line.length });
    response?.end(line);
  };
  const { stdin } = child;
  return {
    waiting,
    write: (line) => {
      if (stdin.writableCorked === 0) {
        stdin.cork();
        setImmediate(() => stdin.uncork());
      }
      stdin.write(line);
    },
  };
}

function idOf(text: string): string {
  const at = text.indexOf(ID);
  return at === -1 ? '' : (/^[^,}]*/.exec(text.slice(at + ID.length))?.[0] ?? '');
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const name = request.headers['mcp-session-id'];
    const known = sessions.get(String(name));
    const session = known ?? open();
    if (known === undefined) {
      const fresh = `s${sessions.size}`;
      sessions.set(fresh, session);
      response.setHeader('Mcp-Session-Id', fresh);
    }
    const body = Buffer.concat([...chunks, Buffer.from('\n')]);
    const id = idOf(body.toString('latin1', 0, ID_WITHIN));
    if (id === '') response.writeHead(202).end();
    else session.waiting.set(id, response);
    session.write(body);
  });
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  process.stdout.write(`${typeof address === 'object' ? address?.port : ''}\n`);
});
