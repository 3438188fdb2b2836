/** The child itself, asked over its stdio without a bridge: `node direct.js IN_FLIGHT MS COMMAND` prints what it takes. */
import { spawn } from 'node:child_process';
import { performance } from 'node:perf_hooks';

const [inFlight = '1', ms = '1000', command = '', ...args] = process.argv.slice(2);
const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
const latencies: number[] = [];
const sentAt: number[] = [];
const endsAt = performance.now() + Number(ms);
let id = 0;
let rest = 0;

function ask(): void {
  id += 1;
  sentAt.push(performance.now());
  child.stdin.write(
    `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"echo","arguments":{}}}\n`,
  );
}

child.stdout.on('data', (chunk: Buffer) => {
  const now = performance.now();
  for (const byte of chunk) if (byte === 0x0a) rest += 1;
  // It answers in order.
  for (; rest > 0; rest -= 1) {
    latencies.push((now - (sentAt.shift() ?? now)) * 1000);
    if (now < endsAt) ask();
  }
  if (now < endsAt) return;
  const sorted = Float64Array.from(latencies).sort();
  const at = (share: number) => sorted[Math.floor(sorted.length * share)];
  const perSecond = (sorted.length / Number(ms)) * 1000;
  process.stdout.write(`${JSON.stringify({ perSecond, p50Us: at(0.5), p99Us: at(0.99) })}\n`);
  child.stdin.end();
  child.stdout.destroy();
});
for (let i = 0; i < Number(inFlight); i += 1) ask();
