/**
 * `node dist/test/deploy/caddy.e2e.js`: the shipped Caddyfile in a real Caddy, in front of a broker started as in
 * production. Needs `caddy`, and `systemd-socket-activate`, so it is no part of `npm test`. Here Caddy is started; the
 * tests are in caddy.flow.ts, in a process of its own, because Node reads NODE_EXTRA_CA_CERTS only when it starts.
 * Arguments go to Node: `--test-name-pattern='signs in|gone'` (the first test signs in for all of them).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../src/demo/free-port.js';
import { startCaddy } from './caddy.js';

const folder = mkdtempSync(join(tmpdir(), 'fjmcp-caddy-'));
try {
  const [port, upstreamPort] = [await freePort(), await freePort()];
  const host = 'mcp.localhost';
  await using caddy = await startCaddy({ host, port, upstreamPort, folder });
  const stage = {
    publicUrl: `https://${host}:${port}`,
    upstreamPort,
    folder,
    log: caddy.log,
    pid: caddy.pid,
  };
  const tests = spawn(
    process.execPath,
    ['--test-reporter=spec', ...process.argv.slice(2), join(import.meta.dirname, 'caddy.flow.js')],
    {
      env: {
        ...process.env,
        NODE_EXTRA_CA_CERTS: caddy.rootCertificate,
        FJMCP_CADDY_STAGE: JSON.stringify(stage),
      },
      stdio: 'inherit',
    },
  );
  const [code] = await once(tests, 'exit');
  process.exitCode = code === 0 ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
