/** What can be measured of a page for people: structure, contrast, and whether it fits. The expressions run in the browser. */
import assert from 'node:assert/strict';
import type { Page } from './chromium.js';

/** WCAG 2.2, 1.4.3. */
const LEAST_CONTRAST = 4.5;

interface Text {
  readonly text: string;
  readonly contrast: number;
}

const TEXTS = `(() => {
  const channels = (color) => {
    const parts = color.match(/[\\d.]+/g).map(Number);
    return { rgb: parts.slice(0, 3), alpha: parts[3] ?? 1 };
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const { rgb, alpha } = channels(getComputedStyle(at).backgroundColor);
      if (alpha === 1) return rgb;
      if (alpha !== 0) throw new Error('a translucent background');
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) {
    const { nodeValue, parentElement } = walker.currentNode;
    if (nodeValue.trim() === '' || parentElement.getClientRects().length === 0) continue;
    const [a, b] = [channels(getComputedStyle(parentElement).color).rgb, background(parentElement)]
      .map(luminance)
      .sort((x, y) => y - x);
    texts.push({ text: nodeValue.trim().slice(0, 40), contrast: (a + 0.05) / (b + 0.05) });
  }
  return texts;
})()`;

export async function checkContrast(page: Page): Promise<void> {
  const texts = await page.evaluate<Text[]>(TEXTS);
  assert.ok(texts.length > 2);
  assert.deepEqual(
    texts.filter(({ contrast }) => contrast < LEAST_CONTRAST),
    [],
  );
}

/** Nothing stands out to the right. */
export async function checkWidth(page: Page): Promise<void> {
  const [content, window] = await page.evaluate<[number, number]>(
    '[document.documentElement.scrollWidth, document.documentElement.clientWidth]',
  );
  assert.ok(content <= window, `${content} px of content in ${window} px at ${page.url()}`);
}

interface Structure {
  readonly lang: string;
  readonly title: string;
  readonly mains: number;
  readonly heading: string;
  readonly headings: number;
  readonly unnamed: readonly string[];
  readonly small: readonly string[];
  readonly scripts: number;
}

const STRUCTURE = `(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const controls = all('button, a, input:not([type=hidden]), select, textarea');
  return {
    lang: document.documentElement.lang,
    title: document.title,
    mains: all('main').length,
    heading: all('h1')[0]?.textContent ?? '',
    headings: all('h1').length,
    unnamed: controls.filter((each) => !(each.innerText || each.ariaLabel || each.labels?.length)).map((each) => each.outerHTML),
    small: all('button, a.button').filter((each) => each.getBoundingClientRect().height < 44).map((each) => each.outerHTML),
    scripts: all('script').length,
  };
})()`;

export async function checkStructure(page: Page): Promise<void> {
  const { lang, title, heading, ...rest } = await page.evaluate<Structure>(STRUCTURE);
  assert.equal(lang, 'en');
  assert.ok(title.length > 5);
  assert.equal(heading, title);
  assert.deepEqual(rest, { mains: 1, headings: 1, unnamed: [], small: [], scripts: 0 });
}
