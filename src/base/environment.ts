/** Typed reads of environment variables. Knows forms (integer, network, secret), not which variables there are. */
import { BlockList, isIP } from 'node:net';

export type Address =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };
export type Listen =
  | Address
  /** The socket that systemd passes as file descriptor 3. */
  | { readonly kind: 'systemd' };

export type Environment = Readonly<Record<string, string | undefined>>;
export type ReadFile = (path: string) => string;

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;
/** Typed reads that collect problems instead of throwing, so that an operator mends everything in one go. */
export class EnvironmentReader {
  readonly #env: Environment;
  readonly #readFile: ReadFile;
  readonly #problems: string[];

  constructor(env: Environment, readFile: ReadFile, problems: string[]) {
    this.#env = env;
    this.#readFile = readFile;
    this.#problems = problems;
  }

  complain(name: string, problem: string): void {
    this.#problems.push(`${name}: ${problem}`);
  }

  /** The value, or nothing when unset or blank. */
  text(name: string): string | undefined {
    const value = this.#env[name]?.trim();
    return value === '' ? undefined : value;
  }

  required(name: string, what: string): string {
    const value = this.text(name);
    if (value === undefined) this.complain(name, `is not set; it is ${what}`);
    return value ?? '';
  }

  file(name: string, path: string): string | undefined {
    try {
      return this.#readFile(path);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'error';
      this.complain(name, `cannot read ${path} (${code})`);
      return undefined;
    }
  }

  /** A secret from `NAME`, from the file that `NAME_FILE` names, or from the systemd credential `NAME`. */
  secret(name: string, what: string): string {
    const direct = this.text(name);
    const fileName = this.text(`${name}_FILE`);
    if (direct !== undefined && fileName !== undefined) {
      this.complain(name, `is set twice; keep either ${name} or ${name}_FILE`);
    }
    if (direct !== undefined) return direct;
    if (fileName !== undefined)
      return this.#filled(`${name}_FILE`, this.file(`${name}_FILE`, fileName), what);
    const credentials = this.text('CREDENTIALS_DIRECTORY');
    if (credentials !== undefined) {
      try {
        return this.#filled(name, this.#readFile(`${credentials}/${name}`), what);
      } catch {
        // Not among the credentials: then it is missing like anywhere else.
      }
    }
    this.complain(name, `is not set; it is ${what} (also as ${name}_FILE or as systemd credential ${name})`);
    return '';
  }

  /** A file that could not be read was complained of already; an empty one looks like a secret and is none. */
  #filled(name: string, content: string | undefined, what: string): string {
    const text = content?.trim();
    if (text === '') this.complain(name, `names an empty file; it should hold ${what}`);
    return text ?? '';
  }

  encryptionKeys(name: string): readonly Buffer[] {
    const text = this.secret(name, '32 random bytes in base64; make one with: openssl rand -base64 32');
    const keys = text.split(/[\s,]+/).filter((part) => part !== '');
    const given = text !== '';
    if ((given && keys.length === 0) || keys.some((key) => !/^[A-Za-z0-9+/_-]{43}=?$/.test(key))) {
      this.complain(name, 'must be 32 bytes in base64; make one with: openssl rand -base64 32');
    }
    return keys.map((key) => Buffer.from(key, 'base64'));
  }

  integer(name: string, fallback: number, minimum: number): number {
    const text = this.text(name);
    if (text === undefined) return fallback;
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= minimum) return value;
    this.complain(name, `must be a whole number from ${minimum} up`);
    return fallback;
  }

  oneOf<T extends string>(name: string, values: readonly T[], fallback: T): T {
    const text = this.text(name);
    if (text === undefined) return fallback;
    const value = values.find((candidate) => candidate === text);
    if (value === undefined) this.complain(name, `must be one of ${values.join(', ')}`);
    return value ?? fallback;
  }

  list(name: string): readonly string[] {
    return (this.text(name) ?? '').split(/[\s,]+/).filter((part) => part !== '');
  }

  /** Absolute paths. */
  paths(name: string): readonly string[] {
    const paths = this.list(name);
    for (const path of paths) {
      if (!path.startsWith('/')) this.complain(name, `${JSON.stringify(path)} is not an absolute path`);
    }
    return paths;
  }

  publicUrl(name: string): string {
    const text = this.required(name, 'the https origin that clients use, e.g. https://mcp.example.org');
    if (text === '') return '';
    if (!URL.canParse(text)) {
      this.complain(name, 'is not a URL; write it like https://mcp.example.org');
      return '';
    }
    const url = new URL(text);
    if (url.protocol !== 'https:' && !(url.protocol === 'http:' && LOOPBACK.test(url.hostname))) {
      this.complain(name, 'must be https (http only for a loopback host)');
    } else if (url.origin !== text) {
      this.complain(name, `must be an origin alone, without path or trailing slash: ${url.origin}`);
    }
    return url.origin;
  }

  /** An http(s) URL, possibly with a path; without its trailing slash. */
  url(name: string): string {
    const text = this.required(
      name,
      'the base URL of the Forgejo instance, e.g. https://forgejo.example.org',
    );
    if (text === '') return '';
    const url = URL.canParse(text) ? new URL(text) : undefined;
    if (
      url === undefined ||
      !['http:', 'https:'].includes(url.protocol) ||
      url.search !== '' ||
      url.hash !== ''
    ) {
      this.complain(name, 'must be an http or https URL without query, e.g. https://forgejo.example.org');
      return '';
    }
    if (url.username !== '' || url.password !== '') this.complain(name, 'must not hold credentials');
    return url.origin + url.pathname.replace(/\/+$/, '');
  }

  listen(name: string, fallback: string): Listen {
    const text = this.text(name) ?? fallback;
    if (text === 'systemd') {
      // sd_listen_fds(3): without it descriptor 3 is something else.
      if (this.#env.LISTEN_FDS !== '1')
        this.complain(name, 'is systemd, but systemd passed no socket; use a .socket unit');
      return { kind: 'systemd' };
    }
    const address = parseAddress(text);
    if (address === undefined) this.complain(name, 'must be host:port, unix:/path, or systemd');
    return address ?? { kind: 'systemd' };
  }

  /** An address beside that of the public listener; nothing when unset. */
  privateListen(name: string, taken: Listen): Address | undefined {
    const text = this.text(name);
    const address = parseAddress(text ?? '');
    if (text !== undefined && address === undefined) this.complain(name, 'must be host:port or unix:/path');
    if (address !== undefined && collide(address, taken))
      this.complain(name, 'must be another address than the one for clients');
    return address;
  }

  database(name: string, fallback: string): string {
    const text = this.text(name) ?? fallback;
    if (/^[a-z]+:\/\//i.test(text)) {
      this.complain(name, 'must be the path of a SQLite file; this version knows no other database');
    }
    return text;
  }

  origins(name: string): 'any' | readonly string[] {
    const origins = this.list(name);
    if (origins.length === 0 || (origins.length === 1 && origins[0] === 'any')) return 'any';
    for (const origin of origins) {
      if (!URL.canParse(origin) || new URL(origin).origin !== origin) {
        this.complain(name, `${JSON.stringify(origin)} is not an origin such as https://app.example.org`);
      }
    }
    return origins;
  }

  /** `any`, `off`, or a list of host names. */
  hosts(name: string): 'any' | 'off' | readonly string[] {
    const hosts = this.list(name).map((host) => host.toLowerCase());
    if (hosts.length === 0 || (hosts.length === 1 && hosts[0] === 'any')) return 'any';
    if (hosts.length === 1 && hosts[0] === 'off') return 'off';
    for (const host of hosts) {
      if (!/^[a-z0-9-]+(\.[a-z0-9-]+)+$/.test(host)) {
        this.complain(
          name,
          `${JSON.stringify(host)} is not a host name such as claude.ai; or use any, or off`,
        );
      }
    }
    return hosts;
  }

  networks(name: string, fallback: string): BlockList {
    const networks = new BlockList();
    const parts = this.list(name);
    for (const part of parts.length > 0 ? parts : fallback.split(' ')) {
      const [address = '', bits] = part.split('/');
      const family = isIP(address) === 4 ? 'ipv4' : isIP(address) === 6 ? 'ipv6' : undefined;
      const width = family === 'ipv4' ? 32 : 128;
      const prefix = bits === undefined ? width : Number(bits);
      if (family === undefined || !Number.isInteger(prefix) || prefix < 0 || prefix > width) {
        this.complain(name, `${JSON.stringify(part)} is not a network such as 10.0.0.0/8`);
      } else {
        networks.addSubnet(address, prefix, family);
      }
    }
    return networks;
  }
}

function parseAddress(text: string): Address | undefined {
  if (text.startsWith('unix:/')) return { kind: 'unix', path: text.slice('unix:'.length) };
  const [, host = '', port] = /^(\[[0-9a-f:.]+\]|[^:\s]+):(\d{1,5})$/i.exec(text) ?? [];
  if (port === undefined || Number(port) > 65535) return undefined;
  return { kind: 'tcp', host: host.replace(/^\[|\]$/g, ''), port: Number(port) };
}

/** Whether it listens on every address that the machine has. */
export const isEverywhere = (listen: Listen): boolean =>
  listen.kind === 'tcp' && ['0.0.0.0', '::'].includes(listen.host);

function collide(a: Listen, b: Listen): boolean {
  if (a.kind === 'unix' && b.kind === 'unix') return a.path === b.path;
  if (a.kind !== 'tcp' || b.kind !== 'tcp' || a.port !== b.port || a.port === 0) return false;
  return a.host === b.host || isEverywhere(a) || isEverywhere(b);
}
