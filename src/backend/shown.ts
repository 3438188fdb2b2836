/**
 * Which folders of this machine a sandboxed child needs to see beside the system's: those of its command and of the
 * files among its arguments. Refuses to show whole homes and top-level folders, and whatever the broker keeps to itself.
 */
import { existsSync, realpathSync, statSync } from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { SYSTEM_FOLDERS } from './sandbox.js';

export interface Shown {
  /** Read-only; parents before what lies in them. */
  readonly roots: readonly string[];
  readonly maskedFolders: readonly string[];
  readonly maskedFiles: readonly string[];
}

export interface ShownOptions {
  /** What the operator names: shown as it is. */
  readonly read: readonly string[];
  /** Files that no child may see: the database, keys, settings. */
  readonly hidden: readonly string[];
}

/** Marks the top of a package, whose parts load each other: of Node.js, of a Python environment. */
const PACKAGE_MARKS = ['package.json', 'node_modules', 'pyvenv.cfg', 'pyproject.toml'];

/** `args` as they are configured: what a placeholder stands for is a user's to choose, and shows nothing. */
export function resolveShown(command: string, args: readonly string[], options: ShownOptions): Shown {
  const named = args
    .filter((arg) => !arg.includes('${'))
    .map((arg) => (arg.startsWith('-') ? arg.slice(arg.indexOf('=') + 1) : arg))
    .filter((arg) => isAbsolute(arg) && existsSync(arg));
  // A link is shown where it stands and where it leads.
  const found = [command, ...named].flatMap((path) => [path, realpathSync(path)]).flatMap(rootsOf);
  const hidden = options.hidden.filter(existsSync).map((path) => realpathSync(path));
  const roots = outermost([...options.read.filter(existsSync), ...found]).filter(
    (root) => !hidden.includes(root),
  );
  const inSight = hidden.filter((path) => [...SYSTEM_FOLDERS, ...roots].some((root) => isIn(path, root)));
  // What lies beside a hidden file is as private (backups, a write-ahead log), unless a child must see it.
  const isPrivate = (folder: string) => !roots.some((root) => isIn(root, folder));
  return {
    roots,
    maskedFolders: [...new Set(inSight.map((path) => dirname(path)).filter(isPrivate))],
    maskedFiles: inSight.filter((path) => !isPrivate(dirname(path))),
  };
}

function rootsOf(path: string): readonly string[] {
  if (SYSTEM_FOLDERS.some((folder) => isIn(path, folder))) return [];
  if (statSync(path).isDirectory()) return isTooWide(path) ? [] : [path];
  const above = foldersAbove(path);
  const marked = above.filter((folder) => PACKAGE_MARKS.some((mark) => existsSync(join(folder, mark))));
  const modules = marked.map((folder) => join(folder, 'node_modules')).filter(existsSync);
  return [marked.at(-1) ?? above[0] ?? path, ...modules.map((folder) => realpathSync(folder))];
}

/** From the folder of `path` upwards, as far as they are nobody's whole world. */
function foldersAbove(path: string): readonly string[] {
  const folder = dirname(path);
  return isTooWide(folder) ? [] : [folder, ...foldersAbove(folder)];
}

/** The root, what lies in it, and whole homes. */
function isTooWide(folder: string): boolean {
  return /^\/[^/]*$|^\/(?:home|Users|var)\/[^/]+$/.test(folder);
}

function outermost(paths: readonly string[]): readonly string[] {
  const all = [...new Set(paths.map((path) => resolve(path)))].sort();
  return all.filter((path) => !all.some((other) => other !== path && isIn(path, other)));
}

function isIn(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}
