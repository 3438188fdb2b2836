/** Every page a person sees. Server-rendered, no script, no outside resource; whatever a client chose is escaped. */
import { createHash } from 'node:crypto';
import type { Context } from 'hono';
import { html, raw } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';
import type { Client } from '../oauth/clients.js';
import type { IdentityFaultKind } from '../oauth/identity.js';
import type { ConsentForm } from '../oauth/pending.js';
import { isLoopback } from '../oauth/redirect-uris.js';
import { isVouchedFor, type SignInStep } from '../oauth/sign-in.js';

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
  readonly footer?: Markup;
  /** CSP sources that a form of this page may lead to, beside ourselves. */
  readonly formTargets?: readonly string[];
}

const STYLE = `
:root { color-scheme: light dark; --fg: #1b1f24; --muted: #57606a; --bg: #f6f8fa; --card: #fff; --line: #d0d7de;
  --accent: #b8430a; --on-accent: #fff; --warn: #fff4d6; --on-warn: #4d3800; }
@media (prefers-color-scheme: dark) { :root { --fg: #e6edf3; --muted: #9aa4af; --bg: #0d1117; --card: #161b22;
  --line: #30363d; --accent: #ff9d5c; --on-accent: #201002; --warn: #3a2d00; --on-warn: #ffe8a3; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1.5rem 1rem; background: var(--bg); color: var(--fg); font: 1rem/1.5 system-ui, sans-serif; }
main, footer { max-width: 34rem; margin: 0 auto; overflow-wrap: anywhere; }
main > :last-child { margin-bottom: 0; }
main { margin-top: 4vh; padding: 1.5rem; background: var(--card); border: 1px solid var(--line); border-radius: .75rem; }
footer { padding: 1rem 1.5rem; } footer, .muted, .note, dt { color: var(--muted); font-size: .9rem; }
h1 { margin: 0 0 1rem; font-size: 1.35rem; line-height: 1.3; text-wrap: balance; }
dl { margin: 0; } dt { margin-top: .9rem; } dd { margin: 0; } .note { display: block; }
ul { margin: .25rem 0; padding-left: 1.25rem; } strong, code { unicode-bidi: isolate; }
.warn, .address { margin: 1.25rem 0; padding: .75rem 1rem; border-radius: .5rem; background: var(--warn); color: var(--on-warn); }
.address { background: var(--bg); color: inherit; border: 1px solid var(--line); }
.actions { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: 1.5rem; }
button, .button { flex: 1 1 12rem; min-height: 2.75rem; padding: .6rem 1rem; font: inherit; font-weight: 600; cursor: pointer;
  border-radius: .5rem; border: 1px solid var(--muted); background: transparent; color: inherit; }
.button { display: inline-block; text-decoration: none; }
.primary { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
button:focus-visible, a:focus-visible { outline: 3px solid var(--fg); outline-offset: 2px; }
a:not(.button) { color: var(--accent); } code, kbd { font-size: .95em; font-family: ui-monospace, monospace; }
`;
const STYLE_SOURCE = `'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`;

/** Sends a page with its policy. */
export async function renderPage(
  c: Context,
  status: 200 | 400 | 404 | 429 | 500 | 502 | 503,
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
<body><main><h1>${page.title}</h1>${page.body}</main>${page.footer && html`<footer>${page.footer}</footer>`}</body>
</html>`,
    status,
  );
}

export function consentPage({ id, csrf, request }: ConsentForm, upstream: Upstream): Page {
  const { client, redirectUri } = request;
  const name = printable(client.name);
  return {
    title: `Let ${name} use Forgejo as you?`,
    formTargets: formTargets(redirectUri, upstream),
    footer: aboutBroker(upstream),
    body: html`
<dl>
<dt>Who asks</dt>
<dd><strong>${name}</strong><span class="note">${provenance(client)}</span></dd>
<dt>Where the answer goes</dt>
<dd>${destination(redirectUri)}</dd>
<dt>What it will be able to do</dt>
<dd>Use the tools of this broker with your account at <strong>${upstream.name}</strong>:
<ul>${permissions(upstream.scopes).map((permission) => html`<li>${permission}</li>`)}</ul></dd>
<dt>For how long</dt>
<dd>Until you end it: revoke this broker at ${upstream.name} under Settings, Applications. That ends every
application you connected through it.</dd>
</dl>
${caution(client, redirectUri)}
${decisionForm(id, csrf)}
<p class="muted">If you continue, ${upstream.name} asks you to sign in, unless you are signed in there already. Your password
goes to ${upstream.name} only.</p>`,
  };
}

/** How we know who asks: what can be trusted about it, in one or two sentences. */
function provenance(client: Client): string {
  switch (client.kind) {
    case 'registered':
      return 'The operator of this broker set this application up.';
    case 'document': {
      const host = new URL(client.id).host;
      if (!isVouchedFor(client))
        return `It describes itself in a document at ${host}. Nobody has checked it.`;
      return client.pinned
        ? `${host} describes this application. It could not be asked just now; this broker used its own copy.`
        : `${host} describes this application and vouches for its name.`;
    }
    case 'dynamic': {
      const page =
        client.uri === undefined ? 'this name' : `this name and this page: ${printable(client.uri)}`;
      return `It registered itself with ${page}. Nobody has checked who it is.`;
    }
  }
}

/** What only the user can know: whether this sign-in is their own. */
function caution(client: Client, redirectUri: string): Markup | string {
  const name = printable(client.name);
  if (!redirectUri.startsWith('https:')) {
    return html`<p class="warn"><strong>Any program on this computer can call itself ${name}.</strong>
Continue only if you have just started this yourself, in a program that you trust.</p>`;
  }
  if (isVouchedFor(client)) return '';
  return html`<p class="warn"><strong>Do you know <bdi>${new URL(redirectUri).host}</bdi>?</strong> It will act as you. Continue only if
you have just started this yourself.</p>`;
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

function decisionForm(id: string, csrf: string, go = 'Continue with Forgejo'): Markup {
  return html`<form method="post" action="/oauth/consent">
<input type="hidden" name="pending" value="${id}">
<input type="hidden" name="csrf" value="${csrf}">
<div class="actions">
<button class="primary" type="submit" name="decision" value="continue">${go}</button>
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
    footer: aboutBroker(upstream),
    body: html`<p>${
      ours
        ? `${upstream.name} refuses this broker. It is nothing that you did, and trying again will not help until the operator has mended it; the reason stands in the broker's log.`
        : `Forgejo at ${upstream.name} is down, slow, or gave an answer that makes no sense. Nothing is lost.`
    }</p>${
      form === undefined
        ? html`<p>Go back to your application and start again.</p>`
        : html`<p>You can try again right away.</p>${decisionForm(form.id, form.csrf, 'Try again')}`
    }`,
  };
}

type Problem = Extract<SignInStep, { next: 'explain' }>['problem'];

const EXPLANATIONS: Readonly<Record<Problem, readonly [title: string, ...paragraphs: string[]]>> = {
  client_unknown: [
    'This application is not known here',
    'It may have been registered long ago and forgotten since.',
    'In the application, remove this connection and add it again.',
  ],
  client_document_unavailable: [
    'Too much is going on here',
    'This application describes itself in a document at another host, and this broker is fetching too many of those just now to fetch one more.',
    'Wait a few seconds, then reload this page.',
  ],
  client_document_unreadable: [
    'This application cannot be looked up',
    'Try again later. Removing the connection does not help.',
  ],
  redirect_uri_missing: [
    'The request is incomplete',
    'The application did not say where the answer should go, so there is none. This is a mistake of the application.',
  ],
  redirect_uri_unregistered: [
    'The request is refused',
    'The application asked for the answer at an address that it never registered. Nothing was sent there.',
    'If you followed a link to come here, close this page. If you are connecting an application, remove this connection there and add it again.',
  ],
  request_malformed: [
    'The request is malformed',
    'It cannot be understood, so nothing was done. Go back to your application and start again.',
  ],
  expired: [
    'This sign-in has ended',
    'It took too long, was begun in another browser, or the broker was restarted. Nothing was allowed.',
  ],
  answered: [
    'You have answered this already',
    'The answer is on its way to your application, or was sent there: by your first click, or before you went back to this page. It is never sent twice.',
    'If your application says that it is connected, close this page.',
  ],
  scope_conflict: [
    'Forgejo remembers an older consent',
    'You allowed this broker before, with other permissions, and Forgejo does not change them.',
    'At Forgejo, open Settings, Applications, and revoke this broker there. Then start again in your application.',
  ],
};

export interface ExplanationOptions {
  /** An event of the audit log that the user can quote. */
  readonly audit?: string | undefined;
  /** Path and query of the authorization request, when it may be begun anew. */
  readonly again?: string | undefined;
  /** Where the client describes itself. */
  readonly host?: string | undefined;
}

export function explanationPage(
  problem: Problem,
  upstream: Upstream,
  options: ExplanationOptions = {},
): Page {
  const [title, ...paragraphs] = EXPLANATIONS[problem];
  const { audit, again, host } = options;
  const restart =
    again === undefined
      ? html`<p>${problem === 'answered' ? 'If not, go' : 'Go'} back to your application and start again.</p>`
      : html`<p><a class="button" href="${again}">Begin again</a></p>
<p class="muted">If your application does not wait any more, start again there.</p>`;
  return {
    title,
    footer: aboutBroker(upstream),
    body: html`${host && html`<p>Its description at <strong>${host}</strong> could not be read.</p>`}${paragraphs.map((text) => html`<p>${text}</p>`)}${problem === 'expired' || problem === 'answered' ? restart : ''}${quotation(audit)}`,
  };
}

export function returnPage(
  { to, description, audit }: Extract<SignInStep, { next: 'offer_return' }>,
  upstream: Upstream,
): Page {
  return {
    title: 'The request is refused',
    footer: aboutBroker(upstream),
    body: html`<p>The application sent a request that this broker cannot grant: ${description}.</p>
<p>You can return to it at <a href="${to}" rel="noreferrer">${new URL(to).host || new URL(to).protocol}</a>, if that is where you came from.</p>${quotation(audit)}`,
  };
}

/** An event of the audit trail, for the user to name. */
function quotation(audit: string | undefined): Markup | string {
  return audit === undefined
    ? ''
    : html`<p class="muted">If you ask the operator about it, quote <code>${audit}</code>.</p>`;
}

export function busyPage(seconds: number, upstream: Upstream): Page {
  return {
    title: 'Too many sign-ins at once',
    footer: aboutBroker(upstream),
    body: html`<p>Very many sign-ins came from your network in the last minute. Wait ${seconds} seconds, then reload this page.</p>`,
  };
}

export function incidentPage(incident: string, upstream: Upstream): Page {
  return {
    title: 'Something broke here',
    footer: aboutBroker(upstream),
    body: html`<p>It is nothing that you did. Wait a minute, then start again in your application.</p>
<p class="muted">If it happens again, give the operator this number: <code>${incident}</code>.</p>`,
  };
}

/** The store is locked or has no room: the same request may work in a moment. */
export function unavailablePage(seconds: number, incident: string, upstream: Upstream): Page {
  return {
    title: 'This broker is busy',
    footer: aboutBroker(upstream),
    body: html`<p>It is nothing that you did, and nothing is lost. Wait ${seconds} seconds, then reload this page.</p>
<p class="muted">If it goes on, give the operator this number: <code>${incident}</code>.</p>`,
  };
}

export function homePage(endpoints: readonly string[], upstream: Upstream): Page {
  const [first = '', ...others] = endpoints;
  const host = new URL(first).host;
  return {
    title: `MCP for ${upstream.name}`,
    footer: aboutBroker(upstream),
    body: html`<p>This broker lets an AI application use Forgejo at <strong>${upstream.name}</strong> as you. Add this address to
the application as a remote MCP server (a “connector”):</p>
<p class="address"><code>${first}</code></p>
<p>It then opens a page here that says what it asks for, and sends you to ${upstream.name} to sign in.</p>
<dl>
<dt>Claude, ChatGPT</dt><dd>Settings, Connectors, add a custom connector, and paste the address.</dd>
<dt>Claude Code</dt><dd><code>claude mcp add --transport http forgejo ${first}</code></dd>
<dt>Codex</dt><dd><code>codex mcp add forgejo --url ${first}</code></dd>
<dt>VS Code</dt><dd><kbd>MCP: Add Server</kbd>, HTTP, and paste the address.</dd>
<dt>Programs without remote MCP</dt><dd><code>npx mcp-remote ${first}</code></dd>
</dl>
${
  others.length > 1
    ? html`<p>There are several servers at ${host}:</p><ul>${others.map((url) => html`<li><code>${url}</code></li>`)}</ul>`
    : ''
}`,
  };
}

/** Who answers for this broker: on every page. */
function aboutBroker({ name, operator }: Upstream): Markup {
  return html`Broker for <bdi>${name}</bdi>, run by <bdi>${operator}</bdi>.`;
}

/**
 * Chromium applies form-action to the whole redirect chain: to Forgejo, to whatever signs users in there, and to the
 * client's redirect URI. Hosts along it cannot all be known, so schemes are listed.
 */
function formTargets(redirectUri: string, upstream: Upstream): readonly string[] {
  return [...new Set(['https:', new URL(upstream.url).protocol, new URL(redirectUri).protocol])];
}

/** Where a redirect leads, short enough to compare: host, or scheme of a native application. */
function destination(redirectUri: string): Markup {
  const { protocol, host, hostname } = new URL(redirectUri);
  if (protocol === 'https:') return html`<code>${host}</code>`;
  return isLoopback(redirectUri)
    ? html`A program on this computer, at <code>${hostname}</code>`
    : html`The program on this computer that opens <code>${protocol}</code> links`;
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
