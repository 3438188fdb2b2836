/** Servers that do nothing, to see what the load generator can ask for. `node hello.js net|http` prints its port. */
import { createServer as createHttpServer } from 'node:http';
import { createServer as createNetServer } from 'node:net';

const BODY = '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"pong"}]}}';
const ANSWER = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;

const server =
  process.argv[2] === 'net'
    ? // Each chunk is one request: the load generator sends it in one piece and waits for the answer.
      createNetServer((socket) => socket.setNoDelay(true).on('data', () => socket.write(ANSWER)))
    : createHttpServer((request, response) => {
        request.resume().on('end', () => {
          response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': BODY.length });
          response.end(BODY);
        });
      });
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  process.stdout.write(`${typeof address === 'object' ? address?.port : ''}\n`);
});
