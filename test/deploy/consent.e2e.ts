/**
 * `node dist/test/deploy/consent.e2e.js PLAYWRIGHT [SCREENSHOTS]`: the pages of a sign-in in a real browser, as people use
 * them. PLAYWRIGHT is a folder with node_modules/playwright-core; it also needs Debian's chromium, so it is no part of
 * `npm test`. Each page is kept as SCREENSHOTS/page-size-scheme.png (default dist/screenshots).
 */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { MINUTE } from '../../src/base/clock.js';
import { until } from '../fixtures/until.js';
import type { Page } from './chromium.js';
import { PAGES, restoreStage } from './consent-pages.js';
import { CANCEL, CONTINUE, type ConsentStage, startConsentStage } from './consent-stage.js';
import { checkContrast, checkStructure, checkWidth } from './readable.js';

const [playwright = '.', folder = 'dist/screenshots'] = process.argv.slice(2);

const LOOKS = [
  { name: 'phone', width: 360, height: 740 },
  { name: 'desktop', width: 1280, height: 800 },
] as const;
const SCHEMES = ['light', 'dark'] as const;
const NARROWEST = { width: 320, height: 640 };

const secondClick = (delayMs: number) =>
  `setTimeout(() => document.querySelector('${CONTINUE}').click(), ${delayMs})`;

let it: ConsentStage;

before(async () => {
  mkdirSync(folder, { recursive: true });
  it = await startConsentStage(playwright);
});

after(() => it[Symbol.asyncDispose]());

describe('a person', () => {
  test('signs in with clicks, through Forgejo, back to an application on this computer', async () => {
    const { context, page, violations } = await it.openSignedInWindow();
    assert.equal(await page.title(), 'Connected');
    const answer = it.answers.at(-1);
    assert.equal(answer?.get('state'), 'the state');
    assert.equal(answer?.get('iss'), it.stage.broker.url);
    assert.equal(await it.redeem(answer), 200);
    // Forgejo answers silently now: one chain of redirects from our form to the client.
    await page.goto(await it.localUrl('again'));
    await page.locator(CONTINUE).click();
    await page.waitForURL(it.isClient);
    assert.equal(it.answers.at(-1)?.get('state'), 'again');
    assert.deepEqual(violations, []);
    await context.close();
  });

  test('signs in with the keyboard alone, and always sees where the focus is', async () => {
    const { context, page } = await it.openSignedInWindow();
    await page.goto(await it.localUrl('keys'));
    const seen: string[] = [];
    for (let n = 0; n < 2; n += 1) {
      await page.keyboard.press('Tab');
      const [text, outline] = await page.evaluate<[string, string]>(`(() => {
        const { activeElement } = document;
        const { outlineStyle, outlineWidth } = getComputedStyle(activeElement);
        return [activeElement.innerText, outlineStyle + ' ' + outlineWidth];
      })()`);
      seen.push(text);
      assert.equal(outline, 'solid 3px');
    }
    assert.deepEqual(seen, ['Continue with Forgejo', 'Cancel']);
    await page.keyboard.press('Shift+Tab');
    await page.screenshot({ path: join(folder, 'consent-focus.png'), fullPage: true });
    await page.keyboard.press('Enter');
    await page.waitForURL(it.isClient);
    assert.equal(it.answers.at(-1)?.get('state'), 'keys');
    await context.close();
  });

  test('who cancels is led back to the application, which learns it', async () => {
    const { context, page, violations } = await it.openWindow();
    await page.goto(await it.localUrl('no'));
    await page.locator(CANCEL).click();
    await page.waitForURL(it.isClient);
    assert.equal(it.answers.at(-1)?.get('error'), 'access_denied');
    assert.deepEqual(violations, []);
    await context.close();
  });

  test('who opened many tabs can finish each, in any order', async () => {
    const { context, page } = await it.openSignedInWindow();
    const tabs: Page[] = [];
    for (const state of ['one', 'two', 'three', 'four']) {
      const tab = await context.newPage();
      await tab.goto(await it.localUrl(state));
      tabs.push(tab);
    }
    for (const tab of tabs.toReversed()) {
      await tab.locator(CONTINUE).click();
      await tab.waitForURL(it.isClient);
      assert.equal(await it.redeem(), 200);
    }
    assert.deepEqual(
      it.answers.slice(-4).map((answer) => answer.get('state')),
      ['four', 'three', 'two', 'one'],
    );
    await page.close();
    await context.close();
  });

  test('who goes back and continues again gets an answer or an explanation, never a dead end', async () => {
    const { context, page } = await it.openSignedInWindow();
    await page.goto(await it.localUrl('back'));
    await page.locator(CONTINUE).click();
    await page.waitForURL(it.isClient);
    await page.goBack();
    await page.locator(CONTINUE).click();
    await page.waitForLoadState();
    if (it.isClient(new URL(page.url()))) assert.equal(await it.redeem(), 200);
    else assert.equal(await page.title(), 'You have answered this already');
    await context.close();
  });

  test('who went back from the login page of Forgejo can continue', async () => {
    const { context, page } = await it.openWindow();
    await page.goto(await it.localUrl('from Forgejo'));
    await page.locator(CONTINUE).click();
    await page.waitForURL((url) => url.pathname === '/user/login');
    await page.goBack();
    await page.locator(CONTINUE).click();
    await it.signInAtForgejo(page);
    await page.waitForURL(it.isClient);
    assert.equal(await it.redeem(), 200);
    await context.close();
  });

  for (const delay of [0, 150, 400]) {
    test(`who clicks Continue twice, ${delay} ms apart, is signed in`, async () => {
      const { context, page } = await it.openSignedInWindow();
      const before = it.answers.length;
      await page.goto(await it.localUrl('twice'));
      it.stage.broker.forgejo.faults.slow(100);
      await page.locator(CONTINUE).click({ noWaitAfter: true });
      // Too late once the page has gone.
      await page.evaluate(secondClick(delay)).catch(() => undefined);
      await until(
        'the end of the sign-in',
        () => it.isClient(new URL(page.url())) || page.url().endsWith('/oauth/consent'),
      );
      await page.waitForLoadState();
      it.stage.broker.forgejo.faults.clear();
      if (!it.isClient(new URL(page.url()))) {
        assert.equal(await page.title(), 'You have answered this already');
        // The second click may have kept the browser from the answer to the first.
        await page.locator('a.button').click();
        await page.locator(CONTINUE).click();
        await page.waitForURL(it.isClient);
      }
      assert.ok(it.answers.length > before);
      assert.equal(await it.redeem(), 200);
      await context.close();
    });
  }

  test('who comes too late may begin again from there', async () => {
    const { context, page } = await it.openSignedInWindow();
    await page.goto(await it.localUrl('late'));
    it.stage.forward(11 * MINUTE);
    await page.locator(CONTINUE).click();
    assert.equal(await page.title(), 'This sign-in has ended');
    await page.locator('a.button').click();
    await page.locator(CONTINUE).click();
    await page.waitForURL(it.isClient);
    assert.equal(it.answers.at(-1)?.get('state'), 'late');
    await context.close();
  });

  test('is led to a native application by its own scheme without offence to the policy of the page', async () => {
    const { context, page, violations } = await it.openSignedInWindow();
    const redirectUri = 'cursor://anysphere.cursor-mcp/oauth/callback';
    await page.goto(it.authorizationUrl(await it.register('Cursor', redirectUri), redirectUri));
    const granted = it.stage.count('grant.made');
    await page.locator(CONTINUE).click({ noWaitAfter: true });
    await until('the grant', () => it.stage.count('grant.made') > granted);
    assert.equal(it.stage.count('grant.made'), granted + 1);
    assert.deepEqual(violations, []);
    await context.close();
  });
});

describe('the page', () => {
  for (const [name, open] of Object.entries(PAGES)) {
    test(`${name} is readable on every screen, by everybody`, async () => {
      const { context, page, violations } = await it.openSignedInWindow();
      try {
        await open(it, page);
        await page.waitForLoadState();
        await checkStructure(page);
        for (const colorScheme of SCHEMES) {
          await page.emulateMedia({ colorScheme });
          await checkContrast(page);
          for (const { name: look, ...size } of LOOKS) {
            await page.setViewportSize(size);
            await page.screenshot({
              path: join(folder, `${name}-${look}-${colorScheme}.png`),
              fullPage: true,
            });
          }
        }
        await page.setViewportSize(NARROWEST);
        await checkWidth(page);
        assert.deepEqual(violations, []);
      } finally {
        restoreStage(it);
        await context.close();
      }
    });
  }
});
