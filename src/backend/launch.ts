/**
 * What is started for a session, decided before anything is: command, arguments, environment. Pure, but for the look-up
 * of a command in PATH. Refuses the upstream token in arguments, which every user of the machine can read.
 */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import type { UserId } from '../base/ids.js';
import type { Secret } from '../base/secret.js';

/** A configured MCP server, in the `mcpServers` shape: placeholders not yet filled in. */
export interface ServerEntry {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** What the upstream lets a child do for one user, as of now. */
export interface UpstreamAccess {
  readonly token: Secret;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /** From then on there may be a newer one, which is better to begin with. */
  readonly freshUntil: number;
  readonly user: { readonly id: string; readonly login: string };
  readonly url: string;
}

export interface UpstreamFault {
  readonly fault: 'signed-out' | 'barred' | 'unreachable';
  readonly message: string;
  readonly retryAfterSeconds?: number | undefined;
}

export type UpstreamSource = (userId: UserId) => Promise<UpstreamAccess | UpstreamFault>;

export interface LaunchPlan {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
}

export interface LaunchFault {
  readonly launchFault: string;
}

const PLACEHOLDER = /\$\{([^}]*)\}/g;
const PLACEHOLDERS = ['user.token', 'user.login', 'user.id', 'upstream.url'] as const;
type Placeholder = (typeof PLACEHOLDERS)[number];

/** What is wrong with an entry, one sentence a problem; for the configuration to report. */
export function checkServerEntry(entry: ServerEntry): string[] {
  const problems: string[] = [];
  if (entry.command === '') problems.push(`server "${entry.name}": the command is empty`);
  const places = [
    ...entry.args.map((text, index) => ({ place: `args[${index}]`, text, secret: false })),
    ...Object.entries(entry.env).map(([name, text]) => ({ place: `env.${name}`, text, secret: true })),
  ];
  for (const { place, text, secret } of places) {
    if (text.includes('\0')) problems.push(`server "${entry.name}": ${place} contains a NUL character`);
    for (const [whole, name] of text.matchAll(PLACEHOLDER)) {
      if (!isPlaceholder(name))
        problems.push(`server "${entry.name}": ${place} has an unknown placeholder ${whole}`);
      else if (name === 'user.token' && !secret) {
        problems.push(
          `server "${entry.name}": ${place} must not hold ${whole}, because arguments are public; use env`,
        );
      }
    }
  }
  for (const name of Object.keys(entry.env)) {
    if (!/^[^=\0]+$/.test(name)) problems.push(`server "${entry.name}": "${name}" is no name for a variable`);
  }
  return problems;
}

/** The environment is built from nothing: what is not named here does not reach the child. */
export function planLaunch(entry: ServerEntry, access: UpstreamAccess, host: LaunchHost): LaunchPlan {
  const values: Readonly<Record<Placeholder, string>> = {
    'user.token': access.token.reveal(),
    'user.login': access.user.login,
    'user.id': access.user.id,
    'upstream.url': access.url,
  };
  const fill = (text: string) =>
    text.replace(PLACEHOLDER, (whole, name: string) => (isPlaceholder(name) ? values[name] : whole));
  const env = Object.fromEntries(Object.entries(entry.env).map(([name, text]) => [name, fill(text)]));
  return {
    command: host.command,
    args: entry.args.map(fill),
    env: {
      PATH: host.path,
      HOME: host.home,
      LANG: host.lang,
      FORGEJO_URL: access.url,
      FORGEJO_ACCESS_TOKEN: access.token.reveal(),
      ...env,
    },
    cwd: host.home,
  };
}

/** What this machine contributes to a plan. */
export interface LaunchHost {
  /** The resolved command. */
  readonly command: string;
  readonly path: string;
  readonly lang: string;
  /** A private, empty folder. */
  readonly home: string;
}

/** An absolute path as it is, a bare name from PATH; so that a missing command is a sentence, not a failing process. */
export function resolveCommand(command: string, path: string): string | LaunchFault {
  if (isAbsolute(command)) {
    return isExecutable(command)
      ? command
      : { launchFault: `command "${command}" is not an executable file` };
  }
  if (command.includes('/')) {
    return { launchFault: `command "${command}" must be an absolute path or a name in PATH` };
  }
  for (const folder of path.split(delimiter).filter(isAbsolute)) {
    if (isExecutable(join(folder, command))) return join(folder, command);
  }
  return { launchFault: `command "${command}" was not found in PATH` };
}

export function isLaunchFault(value: string | readonly string[] | LaunchFault): value is LaunchFault {
  return typeof value === 'object' && 'launchFault' in value;
}

/** Splits a command line into words as a POSIX shell does, and does nothing else that a shell does. */
export function parseCommandLine(text: string): string[] | LaunchFault {
  const words: string[] = [];
  const token = /\s+|'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|[^\s'"\\]+/gsy;
  let word: string | undefined;
  let read = 0;
  for (const match of text.matchAll(token)) {
    const [whole, single, double, escaped] = match;
    read += whole.length;
    if (/^\s/.test(whole)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      // Inside double quotes a backslash escapes only these (POSIX Shell Command Language, 2.2.3).
      word = (word ?? '') + (single ?? double?.replace(/\\(["\\$`])/g, '$1') ?? escaped ?? whole);
    }
  }
  if (read < text.length)
    return { launchFault: `unbalanced quote or trailing backslash: ${text.slice(read)}` };
  if (word !== undefined) words.push(word);
  return words.length > 0 ? words : { launchFault: 'the command line is empty' };
}

function isPlaceholder(name: string | undefined): name is Placeholder {
  return PLACEHOLDERS.some((known) => known === name);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
