/** Every page a person sees. Server-rendered, no script, no outside resource; whatever a client chose is escaped. */
import { createHash } from 'node:crypto';
import type { Context } from 'hono';
import { html, raw } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';
import type { Client } from '../oauth/clients.js';
import type { IdentityFaultKind } from '../oauth/identity.js';
import type { ConsentForm } from '../oauth/pending.js';
import { isLoopback } from '../oauth/redirect-uris.js';
import type { SignInStep } from '../oauth/sign-in.js';

type Markup = HtmlEscapedString | Promise<HtmlEscapedString>;

/** The identity provider as pages speak of it. */
export interface Upstream {
  /** Short, e.g. its host. */
  readonly name: string;
  readonly url: string;
  /** What children may do there. */
  readonly scopes: readonly string[];
  /** Who answers for this broker. */
  readonly operator: string;
}

export interface Page {
  readonly title: string;
  readonly body: Markup;
  /** CSP sources that a form of this page may lead to, beside ourselves. */
  readonly formTargets?: readonly string[];
}

const STYLE = `
:root { color-scheme: light dark; --fg: #1b1f24; --muted: #57606a; --bg: #f6f8fa; --card: #fff; --line: #d0d7de;
  --accent: #b8430a; --on-accent: #fff; --warn: #fff4d6; --on-warn: #4d3800; }
@media (prefers-color-scheme: dark) { :root { --fg: #e6edf3; --muted: #9aa4af; --bg: #0d1117; --card: #161b22;
  --line: #30363d; --accent: #ff9d5c; --on-accent: #201002; --warn: #3a2d00; --on-warn: #ffe8a3; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1.5rem 1rem; background: var(--bg); color: var(--fg);
  font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 34rem; margin: 4vh auto; padding: 1.5rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .75rem; overflow-wrap: anywhere; }
h1 { margin: 0 0 1rem; font-size: 1.35rem; line-height: 1.3; }
dt { color: var(--muted); margin-top: .9rem; } dd { margin: 0; }
ul { margin: .25rem 0; padding-left: 1.25rem; } strong, code { unicode-bidi: isolate; }
.warn { margin: 1rem 0; padding: .75rem 1rem; border-radius: .5rem; background: var(--warn); color: var(--on-warn); }
.actions { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: 1.5rem; }
button { flex: 1 1 12rem; min-height: 2.75rem; padding: .6rem 1rem; font: inherit; font-weight: 600; cursor: pointer;
  border-radius: .5rem; border: 1px solid var(--line); background: transparent; color: inherit; }
button.primary { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
button:focus-visible, a:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
a { color: var(--accent); } code { font-size: .95em; } .muted { color: var(--muted); font-size: .9rem; }
`;
const STYLE_SOURCE = `'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`;

/** Sends a page with its policy. */
export async function renderPage(
  c: Context,
  status: 200 | 400 | 404 | 500 | 502,
  page: Page,
): Promise<Response> {
  const forms = ["'self'", ...(page.formTargets ?? [])].join(' ');
  c.header(
    'Content-Security-Policy',
    `default-src 'none'; style-src ${STYLE_SOURCE}; base-uri 'none'; frame-ancestors 'none'; form-action ${forms}`,
  );
  c.header('X-Frame-Options', 'DENY');
  c.header('Cache-Control', 'no-store');
  return c.html(
    html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${page.title}</title>
<style>${raw(STYLE)}</style>
</head>
<body><main><h1>${page.title}</h1>${page.body}</main></body>
</html>`,
    status,
  );
}

export function consentPage({ id, csrf, request }: ConsentForm, upstream: Upstream): Page {
  const { client, redirectUri } = request;
  const name = printable(client.name);
  const here = isLoopback(redirectUri);
  return {
    title: `Let ${name} use Forgejo as you?`,
    formTargets: formTargets(redirectUri, upstream),
    body: html`
<dl>
<dt>Who asks</dt>
<dd><strong>${name}</strong><br><span class="muted">${provenance(client)}</span></dd>
<dt>Where the answer goes</dt>
<dd><code>${here ? 'this computer' : destination(redirectUri)}</code></dd>
<dt>What it will be able to do</dt>
<dd>Use the tools of this broker with your account at <strong>${upstream.name}</strong>:
<ul>${permissions(upstream.scopes).map((permission) => html`<li>${permission}</li>`)}</ul>
<span class="muted">Until you revoke it: at ${upstream.name} under Settings, Applications.</span></dd>
</dl>
${
  here
    ? html`<p class="warn">The answer goes to a program on this computer. Continue only if you have just started it yourself.</p>`
    : ''
}
${decisionForm(id, csrf)}
<p class="muted">Next, ${upstream.name} asks you to sign in, if you are not signed in there already.
This broker is run by ${upstream.operator}.</p>`,
  };
}

/** How we know who asks: what can be trusted about it, in one sentence. */
function provenance(client: Client): string {
  switch (client.kind) {
    case 'registered':
      return 'The operator of this broker set this application up.';
    case 'document': {
      const host = new URL(client.id).host;
      const copy = client.pinned
        ? ' Its description could not be fetched; this broker used its own copy.'
        : '';
      return `This application is described by ${host}, so it speaks for ${host}.${copy}`;
    }
    case 'dynamic': {
      const page = client.uri === undefined ? '' : ` or its page ${printable(client.uri)}`;
      return `This application registered itself. Nobody has checked its name${page}.`;
    }
  }
}

const CATEGORY_WORDS: Readonly<Record<string, string>> = {
  user: 'your profile and account settings',
  repository: 'your repositories: files, branches, pull requests',
  issue: 'issues and comments',
  organization: 'your organisations and teams',
  notification: 'your notifications',
  package: 'packages',
  misc: 'public templates and other general information',
  activitypub: 'federation',
  admin: 'the administration of the whole instance',
};

/** Forgejo's scopes in plain words. There, write includes read. */
function permissions(scopes: readonly string[]): readonly string[] {
  return scopes.flatMap((scope) => {
    const [level, category = ''] = scope.split(':');
    const what = CATEGORY_WORDS[category];
    return what === undefined ? [] : [`${level === 'write' ? 'Read and change' : 'Read'} ${what}`];
  });
}

function decisionForm(id: string, csrf: string): Markup {
  return html`<form method="post" action="/oauth/consent">
<input type="hidden" name="pending" value="${id}">
<input type="hidden" name="csrf" value="${csrf}">
<div class="actions">
<button class="primary" type="submit" name="decision" value="continue">Continue with Forgejo</button>
<button type="submit" name="decision" value="cancel">Cancel</button>
</div>
</form>`;
}

export function upstreamFailedPage(
  kind: IdentityFaultKind,
  form: ConsentForm | undefined,
  upstream: Upstream,
): Page {
  const ours = kind === 'misconfigured';
  return {
    title: ours ? 'This broker needs its operator' : `${upstream.name} does not answer`,
    ...(form === undefined ? {} : { formTargets: formTargets(form.request.redirectUri, upstream) }),
    body: html`<p>${
      ours
        ? `${upstream.name} refuses this broker. Trying again will not help; the operator finds the reason in the broker's log.`
        : `Forgejo at ${upstream.name} is down, slow, or gave an answer that makes no sense. Nothing is lost.`
    }</p>${
      form === undefined
        ? html`<p>Go back to your application and start again.</p>`
        : html`<p>You can try again right away.</p>${decisionForm(form.id, form.csrf)}`
    }`,
  };
}

type Problem = Extract<SignInStep, { next: 'explain' }>['problem'];

const EXPLANATIONS: Readonly<Record<Problem, readonly [title: string, text: string]>> = {
  client_unknown: [
    'This application is not known here',
    'It may have been registered long ago and forgotten since. In the application, remove this connection and add it again.',
  ],
  redirect_uri_missing: [
    'The request is incomplete',
    'The application did not say where the answer should go.',
  ],
  redirect_uri_unregistered: [
    'The request is refused',
    'The application asked for the answer at an address that it never registered. Nothing was sent there.',
  ],
  request_malformed: [
    'The request is malformed',
    'The application sent a request that cannot be understood.',
  ],
  expired: [
    'This sign-in has ended',
    'It was finished already, took too long, was begun in another browser, or the broker was restarted. Go back to your application and start again.',
  ],
  scope_conflict: [
    'Forgejo remembers an older consent',
    'You allowed this broker before, with other permissions, and Forgejo does not change them. At Forgejo, open Settings, Applications, revoke the broker there, and start again.',
  ],
};

export function explanationPage(problem: Problem, upstream: Upstream, audit?: string): Page {
  const [title, text] = EXPLANATIONS[problem];
  return {
    title,
    body: html`<p>${text}</p><p class="muted">Broker for ${upstream.name}.${
      audit === undefined ? '' : html` If you ask its operator, quote <code>${audit}</code>.`
    }</p>`,
  };
}

export function returnPage(to: string, description: string): Page {
  return {
    title: 'The request is refused',
    body: html`<p>The application sent a request that this broker cannot grant: ${description}.</p>
<p>You can return to it at <a href="${to}" rel="noreferrer">${destination(to)}</a>, if that is where you came from.</p>`,
  };
}

export function incidentPage(incident: string): Page {
  return {
    title: 'Something broke here',
    body: html`<p>The operator finds the cause in the log under <code>${incident}</code>.</p>`,
  };
}

export function homePage(endpoints: readonly string[], upstream: Upstream): Page {
  return {
    title: `MCP for ${upstream.name}`,
    body: html`<p>Add this URL to your MCP client. It will ask you to sign in with your Forgejo account.</p>
${endpoints.map((endpoint) => html`<p><code>${endpoint}</code></p>`)}
<p class="muted">Claude Code: <code>claude mcp add --transport http forgejo ${endpoints[0] ?? ''}</code></p>`,
  };
}

/**
 * Chromium applies form-action to the whole redirect chain: to Forgejo, to whatever signs users in there, and to the
 * client's redirect URI. Hosts along it cannot all be known, so schemes are listed.
 */
function formTargets(redirectUri: string, upstream: Upstream): readonly string[] {
  return [...new Set(['https:', new URL(upstream.url).protocol, new URL(redirectUri).protocol])];
}

/** Where a redirect leads, short enough to compare: host, or scheme of a native application. */
function destination(redirectUri: string): string {
  const { protocol, host } = new URL(redirectUri);
  return protocol === 'https:' ? host : `the application behind ${protocol}//`;
}

/** Without characters that are invisible, turn the direction of text or pile up: a name must not be able to dress up. */
function printable(text: string): string {
  const plain = text.replace(/\s+/gu, ' ').replace(/\p{C}|\p{Default_Ignorable_Code_Point}|\u2800/gu, '');
  const bare = plain
    .normalize('NFC')
    .replace(/(\p{M}{2})\p{M}+/gu, '$1')
    .trim();
  return [...bare].slice(0, 100).join('') || 'an application without a name';
}
