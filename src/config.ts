/** The environment, read once: a frozen Config that may be printed, the Secrets apart, or every problem at once. */
import type { BlockList } from 'node:net';
import { z } from 'zod';
import { SANDBOX_MODES, type SandboxMode } from './backend/containment.js';
import { CHILD_PROTOCOLS, type ConfiguredServer } from './backend/eras.js';
import { checkServerEntry, isLaunchFault, parseCommandLine } from './backend/launch.js';
import type { ChildLimits } from './backend/limits.js';
import {
  type Address,
  type Environment,
  EnvironmentReader,
  type Listen,
  type ReadFile,
} from './base/environment.js';
import { parseJson } from './base/fetch.js';
import { LOG_FORMATS, LOG_LEVELS, type LogFormat, type LogLevel } from './base/log.js';
import { Secret } from './base/secret.js';
import { parseForgejoScopes } from './identity/forgejo-scopes.js';

export interface Config {
  readonly publicUrl: string;
  readonly listen: Listen;
  /** For `/metrics`; without it they are off. */
  readonly metricsListen: Address | undefined;
  readonly database: string;
  readonly lifetimes: {
    readonly accessTokenSeconds: number;
    readonly refreshTokenSeconds: number;
    readonly codeSeconds: number;
    readonly pendingSeconds: number;
  };
  /** The first one serves `/mcp`. */
  readonly servers: readonly ConfiguredServer[];
  readonly limits: {
    readonly maxChildren: number;
    readonly maxChildrenPerUser: number;
    readonly childIdleSeconds: number;
    readonly sessionSeconds: number;
    readonly requestSeconds: number;
    /** How long a stop waits for calls in flight. */
    readonly drainSeconds: number;
    readonly maxMessageBytes: number;
  };
  /** What one child may use. */
  readonly childLimits: ChildLimits;
  readonly sandbox: SandboxMode;
  /** Absolute paths that sandboxed children see beside what is found out by itself. */
  readonly sandboxRead: readonly string[];
  /** Files that hold what no child may see. */
  readonly privateFiles: readonly string[];
  readonly log: { readonly level: LogLevel; readonly format: LogFormat };
  readonly forgejo: {
    readonly url: string;
    readonly clientId: string;
    readonly scopes: readonly string[];
  };
  readonly allowedUsers: readonly string[];
  readonly allowedOrgs: readonly string[];
  readonly allowedOrigins: 'any' | readonly string[];
  /** Which hosts may describe clients by a metadata document. */
  readonly clientDocuments: 'any' | 'off' | readonly string[];
  readonly advertiseIss: boolean;
  /** Who answers for this broker, as the consent page says it. */
  readonly operator: string;
  readonly trustedProxies: BlockList;
  /** PATH and LANG of children; nothing else of our environment reaches them. */
  readonly path: string;
  readonly lang: string;
}

export interface Secrets {
  /** 32 bytes each; the first encrypts, all decrypt. */
  readonly encryptionKeys: readonly Buffer[];
  readonly forgejoClientSecret: Secret;
}

export interface LoadedConfig {
  readonly config: Config;
  readonly secrets: Secrets;
}

const DEFAULT_DATABASE = './data/broker.db';
const DEFAULT_SCOPES =
  'read:user write:repository write:issue read:organization write:notification read:misc';

/**
 * Reads the configuration. Each problem names its variable and the remedy, and never repeats a secret's value.
 * `readFile` serves `NAME_FILE`, systemd credentials and `BROKER_SERVERS_FILE`; it throws like `readFileSync`.
 */
export function loadConfig(
  env: Environment,
  readFile: ReadFile,
): LoadedConfig | { readonly problems: readonly string[] } {
  const problems: string[] = [];
  const read = new EnvironmentReader(env, readFile, problems);

  const servers = readServers(read);
  const scopes = parseForgejoScopes(env.FORGEJO_SCOPES ?? DEFAULT_SCOPES);
  if ('problem' in scopes) read.complain('FORGEJO_SCOPES', scopes.problem);
  const allowedOrgs = read.list('BROKER_ALLOWED_ORGS').map((name) => name.toLowerCase());
  if (
    allowedOrgs.length > 0 &&
    !('problem' in scopes) &&
    !scopes.some((scope) => scope.endsWith(':organization'))
  ) {
    read.complain('FORGEJO_SCOPES', 'must contain read:organization when BROKER_ALLOWED_ORGS is set');
  }

  const listen = read.listen('BROKER_LISTEN', '127.0.0.1:8080');
  const config: Config = {
    publicUrl: read.publicUrl('BROKER_PUBLIC_URL'),
    listen,
    metricsListen: read.privateListen('BROKER_METRICS_LISTEN', listen),
    database: readDatabase(read),
    lifetimes: {
      accessTokenSeconds: read.integer('BROKER_ACCESS_TOKEN_SECONDS', 3600, 60),
      refreshTokenSeconds: read.integer('BROKER_REFRESH_TOKEN_SECONDS', 7_776_000, 3600),
      codeSeconds: read.integer('BROKER_CODE_SECONDS', 300, 10),
      pendingSeconds: read.integer('BROKER_PENDING_SECONDS', 600, 60),
    },
    servers,
    limits: {
      maxChildren: read.integer('BROKER_MAX_CHILDREN', 200, 1),
      maxChildrenPerUser: read.integer('BROKER_MAX_CHILDREN_PER_USER', 8, 1),
      childIdleSeconds: read.integer('BROKER_CHILD_IDLE_SECONDS', 300, 1),
      sessionSeconds: read.integer('BROKER_SESSION_SECONDS', 2_592_000, 60),
      requestSeconds: read.integer('BROKER_REQUEST_SECONDS', 300, 1),
      drainSeconds: read.integer('BROKER_DRAIN_SECONDS', 30, 0),
      maxMessageBytes: read.integer('BROKER_MAX_MESSAGE_BYTES', 16_777_216, 65_536),
    },
    childLimits: {
      memoryBytes: read.integer('BROKER_CHILD_MEMORY_BYTES', 1_073_741_824, 67_108_864),
      processes: read.integer('BROKER_CHILD_PROCESSES', 128, 16),
      openFiles: read.integer('BROKER_CHILD_FILES', 1024, 64),
      diskBytes: read.integer('BROKER_CHILD_DISK_BYTES', 268_435_456, 1_048_576),
    },
    sandbox: read.oneOf('BROKER_SANDBOX', SANDBOX_MODES, 'auto'),
    sandboxRead: read.paths('BROKER_SANDBOX_READ'),
    privateFiles: privateFiles(env),
    log: {
      level: read.oneOf('BROKER_LOG_LEVEL', LOG_LEVELS, 'info'),
      format: read.oneOf('BROKER_LOG_FORMAT', LOG_FORMATS, 'json'),
    },
    forgejo: {
      url: read.url('FORGEJO_URL'),
      clientId: read.required('FORGEJO_CLIENT_ID', 'the client id of the OAuth application made in Forgejo'),
      scopes: 'problem' in scopes ? [] : scopes,
    },
    allowedUsers: read.list('BROKER_ALLOWED_USERS').map((name) => name.toLowerCase()),
    allowedOrgs,
    allowedOrigins: read.origins('BROKER_ALLOWED_ORIGINS'),
    clientDocuments: read.hosts('BROKER_CLIENT_DOCUMENTS'),
    advertiseIss: read.oneOf('BROKER_ADVERTISE_ISS', ['true', 'false'], 'true') === 'true',
    operator: read.text('BROKER_OPERATOR') ?? '',
    trustedProxies: read.networks('BROKER_TRUSTED_PROXIES', '127.0.0.0/8 ::1/128'),
    path: env.PATH ?? '/usr/local/bin:/usr/bin:/bin',
    lang: env.LANG ?? 'C.UTF-8',
  };
  const secrets: Secrets = {
    encryptionKeys: read.encryptionKeys('BROKER_ENCRYPTION_KEY'),
    forgejoClientSecret: new Secret(
      read.secret('FORGEJO_CLIENT_SECRET', 'the client secret of the OAuth application made in Forgejo'),
    ),
  };
  return problems.length > 0 ? { problems } : { config: Object.freeze(config), secrets };
}

/** The one setting of commands that look into the store beside a broker that runs. */
export function loadDatabase(
  env: Environment,
  readFile: ReadFile,
): { readonly database: string } | { readonly problems: readonly string[] } {
  const problems: string[] = [];
  const database = readDatabase(new EnvironmentReader(env, readFile, problems));
  return problems.length > 0 ? { problems } : { database };
}

function readDatabase(read: EnvironmentReader): string {
  return read.database('BROKER_DATABASE', DEFAULT_DATABASE);
}

/** The database with what SQLite keeps beside it, and every file that a setting was read from. */
function privateFiles(env: Environment): readonly string[] {
  const database = env.BROKER_DATABASE?.trim() || DEFAULT_DATABASE;
  const read = Object.entries(env).filter(([name]) => /^(BROKER|FORGEJO)_.*_FILE$/.test(name));
  return [
    ...(database === ':memory:' ? [] : ['', '-wal', '-shm', '-journal'].map((end) => database + end)),
    ...read.map(([, path = '']) => path.trim()),
  ].filter((path) => path !== '');
}

/** The `mcpServers` shape that every MCP user knows; members for other hosts are ignored. */
const serversFile = z.object({
  mcpServers: z.record(
    z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'a name is lower-case letters, digits and hyphens'),
    z.object({
      command: z.string().min(1),
      args: z.array(z.string()).default([]),
      env: z.record(z.string(), z.string()).default({}),
      protocol: z.enum(CHILD_PROTOCOLS).default('auto'),
      ttlSeconds: z.int().min(0).default(0),
    }),
  ),
});

function readServers(read: EnvironmentReader): readonly ConfiguredServer[] {
  const file = read.text('BROKER_SERVERS_FILE');
  const entries = file === undefined ? readMcpCommand(read) : readServersFile(read, file);
  for (const entry of entries) {
    for (const problem of checkServerEntry(entry)) {
      read.complain(file === undefined ? 'BROKER_MCP_COMMAND' : 'BROKER_SERVERS_FILE', problem);
    }
  }
  return entries;
}

function readMcpCommand(read: EnvironmentReader): readonly ConfiguredServer[] {
  const line = parseCommandLine(read.text('BROKER_MCP_COMMAND') ?? 'forgejo-mcp --transport stdio');
  if (isLaunchFault(line)) {
    read.complain('BROKER_MCP_COMMAND', line.launchFault);
    return [];
  }
  const [command = '', ...args] = line;
  const protocol = read.oneOf('BROKER_MCP_PROTOCOL', CHILD_PROTOCOLS, 'auto');
  const ttlSeconds = read.integer('BROKER_MCP_TTL_SECONDS', 0, 0);
  return [{ name: 'forgejo', command, args, env: {}, protocol, ttlSeconds }];
}

function readServersFile(read: EnvironmentReader, file: string): readonly ConfiguredServer[] {
  const text = read.file('BROKER_SERVERS_FILE', file);
  if (text === undefined) return [];
  const parsed = serversFile.safeParse(parseJson(text));
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      read.complain('BROKER_SERVERS_FILE', `${issue.path.join('.') || file}: ${issue.message}`);
    }
    return [];
  }
  const entries = Object.entries(parsed.data.mcpServers).map(([name, entry]) => ({ name, ...entry }));
  if (entries.length === 0) read.complain('BROKER_SERVERS_FILE', 'names no server');
  return entries;
}
