/** The instance's pages: plain HTML that a person can read in the demo and a test can read with a regular expression. */
import { html } from 'hono/html';
import type { Instance } from './instance.js';
import type { Application, Grant, Issue, Repository, User } from './rows.js';

export type Page = ReturnType<typeof html>;

const STYLE = `
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; color: #222; background: #f6f5f4; }
header { background: #fff; border-bottom: 1px solid #ddd; padding: .6rem 1rem; }
main { max-width: 34rem; margin: 2rem auto; padding: 1.5rem; background: #fff; border: 1px solid #ddd; border-radius: 6px; }
h1 { font-size: 1.3rem; margin-top: 0; }
label { display: block; margin-bottom: .8rem; }
input { font: inherit; width: 100%; box-sizing: border-box; padding: .4rem; }
button { font: inherit; padding: .4rem 1rem; }
code { overflow-wrap: anywhere; }
.error { color: #a00; }
`;

function page(instance: Instance, title: string, content: Page): Page {
  return html`<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title} - Forgejo (stand-in)</title><style>${STYLE}</style></head>
<body><header><a href="${instance.subPath}/">Forgejo (stand-in)</a></header><main><h1>${title}</h1>
${content}
</main></body>
</html>
`;
}

export function loginPage(instance: Instance, problem = ''): Page {
  return page(
    instance,
    'Sign in',
    html`${problem === '' ? '' : html`<p class="error">${problem}</p>`}
<form method="post" action="${instance.subPath}/user/login">
<label>Username or email address <input name="user_name" autocomplete="username" required autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Sign in</button>
</form>`,
  );
}

export interface ConsentFields {
  readonly client_id: string;
  readonly state: string;
  readonly scope: string;
  readonly nonce: string;
  readonly redirect_uri: string;
}

/** It always claims that the application may do everything, whatever the scope. */
export function consentPage(
  instance: Instance,
  user: User,
  application: Application,
  fields: ConsentFields,
  csrf: string,
): Page {
  const owner = instance.users.get(application.ownerId);
  return page(
    instance,
    `Authorize "${application.name}" to access your account?`,
    html`<p>You are signed in as <strong>${user.login}</strong>. The application was created by ${owner?.login ?? 'the site administration'}.</p>
<p>If you grant the access, it will be able to access and write to all your account information, including private repos and organisations.</p>
<p>With scopes: ${fields.scope}.</p>
<p>You will be redirected to <code>${fields.redirect_uri}</code> if you authorize this application.</p>
<form method="post" action="${instance.subPath}/login/oauth/grant">
${csrfField(instance, csrf)}${Object.entries(fields).map(([name, value]) => hidden(name, value))}
<button type="submit" id="authorize-app" name="granted" value="true">Authorize application</button>
<button type="submit" name="granted" value="false">Cancel</button>
</form>`,
  );
}

export function grantErrorPage(instance: Instance, problem: string): Page {
  return page(instance, 'Authorization failed', html`<p class="error">${problem}</p>`);
}

export function barredPage(instance: Instance, status: 'unactivated' | 'prohibited'): Page {
  return status === 'unactivated'
    ? page(instance, 'Activate your account', html`<p>Your account has not been activated yet.</p>`)
    : page(
        instance,
        'Signing in is prohibited',
        html`<p>Your account is prohibited from signing in, please contact your site administrator.</p>`,
      );
}

export function errorPage(instance: Instance, title: string): Page {
  return page(instance, title, html`<p>${title}.</p>`);
}

export function homePage(
  instance: Instance,
  user: User | undefined,
  repositories: readonly Repository[],
  csrf: string,
): Page {
  if (user === undefined) {
    return page(instance, 'Welcome', html`<p><a href="${instance.subPath}/user/login">Sign in</a></p>`);
  }
  const link = ({ name }: Repository) =>
    html`<li><a href="${instance.subPath}/${user.login}/${name}">${user.login}/${name}</a></li>`;
  return page(
    instance,
    `Hello, ${user.login}`,
    html`<ul>${repositories.map(link)}</ul>
<p><a href="${instance.subPath}/user/settings/applications">Authorized applications</a></p>
<form method="post" action="${instance.subPath}/user/logout">${csrfField(instance, csrf)}<button>Sign out</button></form>`,
  );
}

export function applicationsPage(
  instance: Instance,
  authorized: readonly { readonly application: Application; readonly grant: Grant }[],
  csrf: string,
): Page {
  const base = `${instance.subPath}/user/settings/applications/oauth2`;
  const row = ({ application, grant }: (typeof authorized)[number]) =>
    html`<li>${application.name}
<form method="post" action="${base}/${application.id}/revoke/${grant.id}">${csrfField(instance, csrf)}<button>Revoke</button></form></li>`;
  return page(
    instance,
    'Authorized applications',
    authorized.length === 0 ? html`<p>None.</p>` : html`<ul>${authorized.map(row)}</ul>`,
  );
}

export function repositoryPage(instance: Instance, owner: User, repository: Repository): Page {
  const fullName = `${owner.login}/${repository.name}`;
  const link = ({ number, title }: Issue) =>
    html`<li><a href="${instance.subPath}/${fullName}/issues/${number}">#${number} ${title}</a></li>`;
  return page(
    instance,
    fullName,
    html`<p>${repository.description}</p><ul>${repository.issues.map(link)}</ul>`,
  );
}

export function issuePage(instance: Instance, repository: Repository, issue: Issue): Page {
  const author = instance.users.get(issue.authorId)?.login ?? 'Ghost';
  return page(
    instance,
    `${repository.name} #${issue.number}: ${issue.title}`,
    html`<p>Opened by ${author}.</p><p style="white-space: pre-wrap">${issue.body}</p>`,
  );
}

function csrfField(instance: Instance, csrf: string): Page | '' {
  return instance.variant.csrf === 'field' ? hidden('_csrf', csrf) : '';
}

function hidden(name: string, value: string): Page {
  return html`<input type="hidden" name="${name}" value="${value}">`;
}
