/**
 * Debian's Caddy with the Caddyfile that we ship, lines unchanged: `caddy adapt` turns it into JSON, and only what
 * would need root, port 443 or the outside world is overridden there.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { root } from '../support/demo.js';

export interface CaddyOptions {
  /** A name under `localhost`: for these Caddy makes certificates with its internal CA. */
  readonly host: string;
  readonly port: number;
  /** Port of the broker, on loopback. */
  readonly upstreamPort: number;
  /** An empty folder: storage, log and configuration. */
  readonly folder: string;
}

export interface Caddy extends AsyncDisposable {
  readonly pid: number;
  /** PEM file of the internal CA. */
  readonly rootCertificate: string;
  /** The file with everything it logs. */
  readonly log: string;
}

const START_MS = 15_000;
const STOP_MS = 15_000;

const Adapted = z.looseObject({
  apps: z.looseObject({ http: z.looseObject({ servers: z.looseObject({ srv0: z.looseObject({}) }) }) }),
});

export async function startCaddy(options: CaddyOptions): Promise<Caddy> {
  const { folder, port } = options;
  const configFile = join(folder, 'caddy.json');
  writeFileSync(configFile, JSON.stringify(configuration(options)));
  const log = join(folder, 'caddy.log');
  const output = openSync(log, 'w');
  const env = { PATH: process.env.PATH, HOME: folder };
  const child = spawn('caddy', ['run', '--config', configFile], { env, stdio: ['ignore', output, output] });
  const rootCertificate = join(folder, 'storage/pki/authorities/local/root.crt');
  const stopCaddy = () => stop(child);
  try {
    const deadline = Date.now() + START_MS;
    while (!(existsSync(rootCertificate) && (await answers(port)))) {
      assert.equal(child.exitCode ?? child.signalCode, null, 'it ended');
      assert.ok(Date.now() < deadline, `it does not listen after ${START_MS} ms`);
      await sleep(50);
    }
    assert.ok(child.pid);
    return { pid: child.pid, rootCertificate, log, [Symbol.asyncDispose]: stopCaddy };
  } catch (error) {
    await stopCaddy();
    throw new Error(`Caddy did not start; it wrote:\n${readFileSync(log, 'utf8')}`, { cause: error });
  }
}

function configuration({ host, port, upstreamPort, folder }: CaddyOptions): object {
  const shipped = execFileSync('caddy', ['adapt', '--config', join(root, 'Caddyfile')], {
    env: {
      PATH: process.env.PATH,
      HOME: folder,
      BROKER_HOST: `${host}:${port}`,
      BROKER_UPSTREAM: `127.0.0.1:${upstreamPort}`,
    },
    encoding: 'utf8',
  });
  const { apps, ...rest } = Adapted.parse(JSON.parse(shipped));
  const { srv0 } = apps.http.servers;
  return {
    ...rest,
    admin: { disabled: true },
    storage: { module: 'file_system', root: join(folder, 'storage') },
    apps: {
      ...apps,
      pki: { certificate_authorities: { local: { install_trust: false } } },
      http: {
        ...apps.http,
        servers: {
          srv0: { ...srv0, listen: [`127.0.0.1:${port}`], automatic_https: { disable_redirects: true } },
        },
      },
    },
  };
}

async function answers(port: number): Promise<boolean> {
  // Caddy speaks TLS there, and says so to whoever does not.
  return fetch(`http://127.0.0.1:${port}`).then(
    () => true,
    () => false,
  );
}

async function stop(child: ChildProcess): Promise<void> {
  if ((child.exitCode ?? child.signalCode) !== null || child.pid === undefined) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const killer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await ended;
  clearTimeout(killer);
}
