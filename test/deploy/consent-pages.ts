/** Every page of the broker that a person can meet, and the way there in a window where Forgejo knows alice. */
import { sql } from 'drizzle-orm';
import { MINUTE } from '../../src/base/clock.js';
import type { ClientId } from '../../src/base/ids.js';
import { VARIANTS } from '../../src/demo/forgejo/variants.js';
import type { Client } from '../../src/oauth/clients.js';
import { openSqlite } from '../../src/store/sqlite.js';
import { openSqliteStore } from '../../src/store/sqlite-store.js';
import { until } from '../fixtures/until.js';
import type { Page } from './chromium.js';
import { CANCEL, CONTINUE, type ConsentStage } from './consent-stage.js';

const WEB = 'https://chat.example.com/mcp/callback';
const NATIVE = 'cursor://anysphere.cursor-mcp/oauth/callback';

export const PAGES: Readonly<Record<string, (it: ConsentStage, page: Page) => Promise<unknown>>> = {
  home: (it, page) => page.goto(it.stage.broker.url),
  'consent-local': async (it, page) => page.goto(await it.localUrl()),
  'consent-web': async (it, page) =>
    page.goto(it.authorizationUrl(await it.register('Chat for teams', WEB), WEB)),
  'consent-native': async (it, page) =>
    page.goto(it.authorizationUrl(await it.register('Cursor', NATIVE), NATIVE)),
  'consent-pinned': (it, page) =>
    page.goto(
      it.authorizationUrl(
        'https://claude.ai/oauth/mcp-oauth-client-metadata',
        'https://claude.ai/api/mcp/auth_callback',
      ),
    ),
  'consent-document': async (it, page) => {
    await addClient(it, { id: 'https://chat.example.org/client.json', kind: 'document', name: 'Chat' });
    return page.goto(it.authorizationUrl('https://chat.example.org/client.json', WEB));
  },
  'consent-by-operator': async (it, page) => {
    await addClient(it, { id: 'cl_operator', kind: 'registered', name: 'Chat of example.org' });
    return page.goto(it.authorizationUrl('cl_operator', WEB));
  },
  'consent-hostile-name': async (it, page) => {
    const name = `Your bank\u202e says yes ${'very'.repeat(40)} <b>bold</b>`;
    return page.goto(it.authorizationUrl(await it.register(name, it.redirectUri), it.redirectUri));
  },
  'unknown-application': (it, page) => page.goto(it.authorizationUrl('cl_unknown', it.redirectUri)),
  'unregistered-address': async (it, page) =>
    page.goto(it.authorizationUrl(await it.register('App', it.redirectUri), 'https://evil.example/cb')),
  'refused-stranger': async (it, page) =>
    page.goto(`${it.authorizationUrl(await it.register('Chat for teams', WEB), WEB)}&request=x`),
  malformed: async (it, page) => page.goto(`${await it.localUrl()}&state=another`),
  'too-late': async (it, page) => {
    await page.goto(await it.localUrl());
    it.stage.forward(11 * MINUTE);
    await page.locator(CONTINUE).click();
  },
  'answered-already': async (it, page) => {
    await page.goto(await it.localUrl());
    const known = it.answers.length;
    await page.evaluate(`document.forms[0].target = 'another'; document.querySelector('${CANCEL}').click()`);
    await until('the answer', () => it.answers.length > known);
    await page.evaluate(`document.forms[0].target = ''`);
    await page.locator(CONTINUE).click();
  },
  'forgejo-down': async (it, page) => {
    await page.goto(await it.localUrl());
    it.stage.broker.forgejo.faults.badGateway();
    await page.locator(CONTINUE).click();
  },
  'forgejo-too-old': async (it, page) => {
    await page.goto(await it.localUrl());
    it.stage.broker.forgejo.control.change({ version: '10.0.0+gitea-1.22.0' });
    await page.locator(CONTINUE).click();
  },
  'older-consent': async (it, page) => {
    await page.goto(await it.localUrl());
    it.stage.broker.forgejo.faults.badGateway('/login/oauth/authorize');
    await page.locator(CONTINUE).click();
    const state = new URL(page.url()).searchParams.get('state') ?? '';
    const answer = {
      state,
      error: 'server_error',
      error_description: 'a grant exists with different scope',
    };
    await page.goto(`${it.stage.broker.url}/oauth/callback?${new URLSearchParams(answer)}`);
  },
  incident: async (it, page) => {
    await page.goto(await it.localUrl());
    run(it, "create trigger broken before insert on grants begin select raise(abort, 'broken'); end");
    await page.locator(CONTINUE).click();
  },
};

/** Undoes what a way to a page did to broker and Forgejo. */
export function restoreStage(it: ConsentStage): void {
  const { faults, control } = it.stage.broker.forgejo;
  faults.clear();
  control.change({ version: VARIANTS['16'].version });
  run(it, 'drop trigger if exists broken');
}

function run(it: ConsentStage, statement: string): void {
  const { db, close } = openSqlite(it.stage.database);
  db.run(sql.raw(statement));
  close();
}

async function addClient(
  it: ConsentStage,
  { id, kind, name }: { id: string; kind: Client['kind']; name: string },
): Promise<void> {
  await using store = openSqliteStore(it.stage.database);
  await store.addClient({
    id: id as ClientId,
    kind,
    name,
    redirectUris: [WEB],
    authMethod: 'none',
    secretHash: undefined,
    jwksUri: undefined,
    grantTypes: ['authorization_code', 'refresh_token'],
    uri: undefined,
    createdAt: it.stage.now(),
  });
}
