/**
 * A real Chromium, driven by playwright-core from a folder where the caller installed it: it is no dependency of the
 * project, so the few members that are used are declared here.
 */
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

export interface Locator {
  click(options?: { readonly noWaitAfter?: boolean }): Promise<void>;
  dblclick(options?: { readonly delay?: number }): Promise<void>;
  fill(text: string): Promise<void>;
  count(): Promise<number>;
}

export interface Page {
  goto(url: string): Promise<{ status(): number } | null>;
  goBack(): Promise<unknown>;
  url(): string;
  title(): Promise<string>;
  textContent(selector: string): Promise<string | null>;
  /** Runs an expression in the page; a page's policy does not hold it up. */
  evaluate<T>(expression: string): Promise<T>;
  locator(selector: string): Locator;
  readonly keyboard: { press(key: string): Promise<void> };
  setViewportSize(size: { readonly width: number; readonly height: number }): Promise<void>;
  emulateMedia(media: { readonly colorScheme: 'light' | 'dark' }): Promise<void>;
  screenshot(options: { readonly path: string; readonly fullPage: boolean }): Promise<unknown>;
  waitForURL(matches: (url: URL) => boolean): Promise<void>;
  waitForLoadState(): Promise<void>;
  on(event: 'console', listener: (message: { type(): string; text(): string }) => void): void;
  close(): Promise<void>;
}

/** As a window of its own: no cookie is shared with another one. */
export interface Context {
  newPage(): Promise<Page>;
  close(): Promise<void>;
}

export interface Chromium {
  newContext(): Promise<Context>;
  close(): Promise<void>;
}

interface Playwright {
  readonly chromium: {
    launch(options: {
      executablePath: string;
      headless: boolean;
      args: readonly string[];
    }): Promise<Chromium>;
  };
}

/** It talks to nobody but the pages it is sent to. */
const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];

/** Starts Debian's Chromium with a profile of its own; `folder` holds `node_modules/playwright-core`. */
export function launchChromium(folder: string): Promise<Chromium> {
  const require = createRequire(join(resolve(folder), 'package.json'));
  const { chromium } = require('playwright-core') as Playwright;
  return chromium.launch({ executablePath: '/usr/bin/chromium', headless: true, args: ARGS });
}
