/** The scripted browser refuses what real ones refuse, so a sign-in that passes here passes there. */
import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { Browser, signIn } from './browser.js';

type Answer = (request: IncomingMessage, body: URLSearchParams, response: ServerResponse) => void;

interface Site extends AsyncDisposable {
  readonly origin: string;
}

async function startSite(routes: Readonly<Record<string, Answer>>): Promise<Site> {
  const server = createServer((request, response) => {
    let text = '';
    request.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    request.on('end', () => {
      const path = new URL(request.url ?? '/', 'http://site').pathname;
      const answer = routes[`${request.method} ${path}`];
      if (answer === undefined) response.writeHead(404).end('no such page');
      else answer(request, new URLSearchParams(text), response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const page = (response: ServerResponse, html: string, headers: Readonly<Record<string, string>> = {}) =>
  response.writeHead(200, { 'Content-Type': 'text/html', ...headers }).end(html);
const redirect = (response: ServerResponse, to: string, headers: Readonly<Record<string, string>> = {}) =>
  response.writeHead(303, { Location: to, ...headers }).end();

/** A sign-in in the broker's and Forgejo's manner, as small as it can be. */
async function startPair(consentHeaders: (forgejo: string) => Readonly<Record<string, string>>) {
  let brokerOrigin = '';
  const forgejo = await startSite({
    'GET /authorize': (_request, _body, response) =>
      page(
        response,
        '<form method=post action="login"><input name=user_name><input name=password type=password>' +
          '<input type=hidden name=to value="a&amp;b"><button>Sign in</button></form>',
      ),
    'POST /login': (_request, body, response) => {
      assert.deepEqual(Object.fromEntries(body), { user_name: 'alice', password: 'pw', to: 'a&b' });
      redirect(response, '/grant', { 'Set-Cookie': 'session=s1; HttpOnly; SameSite=Lax; Path=/' });
    },
    'GET /grant': (request, _body, response) => {
      assert.match(request.headers.cookie ?? '', /session=s1/);
      page(
        response,
        '<form method="post" action="/grant"><button name="granted" value="false">No</button>' +
          '<button name="granted" value="true">Yes</button></form>',
      );
    },
    'POST /grant': (_request, body, response) => {
      assert.equal(body.get('granted'), 'true');
      redirect(response, `${brokerOrigin}/callback`);
    },
  });
  const broker = await startSite({
    'GET /oauth/authorize': (_request, _body, response) =>
      page(
        response,
        '<form method="post" action="/oauth/consent"><button name="choice" value="no">Cancel</button>' +
          '<button name="choice" value="yes">Continue with Forgejo</button></form>',
        { 'Set-Cookie': '__Host-p=1; Secure; Path=/; SameSite=Lax', ...consentHeaders(forgejo.origin) },
      ),
    'POST /oauth/consent': (request, body, response) => {
      assert.equal(body.get('choice'), 'yes');
      assert.match(request.headers.cookie ?? '', /__Host-p=1/);
      redirect(response, `${forgejo.origin}/authorize`);
    },
    'GET /callback': (request, _body, response) => {
      assert.match(request.headers.cookie ?? '', /__Host-p=1/, 'a Lax cookie arrives on the way back');
      redirect(response, 'http://127.0.0.1:1/cb?code=c1');
    },
  });
  brokerOrigin = broker.origin;
  const authorizationUrl = `${broker.origin}/oauth/authorize?redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcb`;
  const close = async () => {
    await broker[Symbol.asyncDispose]();
    await forgejo[Symbol.asyncDispose]();
  };
  return { authorizationUrl, [Symbol.asyncDispose]: close };
}

const alice = { login: 'alice', password: 'pw' };

test('a sign-in passes consent, login and grant, and stops at the redirect to the client', async () => {
  await using pair = await startPair(() => ({}));
  const back = await signIn(new Browser(), pair.authorizationUrl, alice);
  assert.equal(back.href, 'http://127.0.0.1:1/cb?code=c1');
});

test('form-action of the consent page holds for the redirects after it', async () => {
  await using open = await startPair((forgejo) => ({
    'Content-Security-Policy': `default-src 'none'; form-action 'self' ${forgejo}`,
  }));
  await signIn(new Browser(), open.authorizationUrl, alice);
  await using shut = await startPair(() => ({ 'Content-Security-Policy': "form-action 'self'" }));
  await assert.rejects(signIn(new Browser(), shut.authorizationUrl, alice), /form-action .* forbids/);
});

test('a strict cookie stays behind when another site leads back, and a page without referrer posts a null origin', async () => {
  const seen: (string | undefined)[] = [];
  await using other = await startSite({
    'GET /away': (request, _body, response) =>
      redirect(response, String(new URL(request.url ?? '', 'http://x').searchParams.get('to'))),
  });
  await using site = await startSite({
    'GET /start': (_request, _body, response) =>
      page(response, '<form method=post action=post><input name=a value=1></form>', {
        'Set-Cookie': 'strict=1; SameSite=Strict; Path=/',
        'Referrer-Policy': 'no-referrer',
      }),
    'POST /post': (request, _body, response) => {
      seen.push(request.headers.cookie, request.headers.origin, request.headers['sec-fetch-site'] as string);
      redirect(response, `${other.origin}/away?to=${encodeURIComponent(`${site.origin}/end`)}`);
    },
    'GET /end': (request, _body, response) => {
      seen.push(request.headers.cookie, request.headers.origin, request.headers['sec-fetch-site'] as string);
      page(response, 'done');
    },
  });
  const browser = new Browser();
  const end = await browser.submit(await browser.open(`${site.origin}/start`));
  assert.equal(end.body, 'done');
  assert.deepEqual(seen, ['strict=1', 'null', 'same-origin', undefined, undefined, 'cross-site']);
});
