/** The pages a signed-in person uses: login, logout, revoking an application, and looking at a repository. */
import { type Context, Hono } from 'hono';
import { deleteCookie, getCookie } from 'hono/cookie';
import type { Instance } from './instance.js';
import {
  applicationsPage,
  barredPage,
  errorPage,
  homePage,
  issuePage,
  loginPage,
  repositoryPage,
} from './pages.js';
import { barOf } from './rows.js';
import {
  answerJson,
  cookieOptions,
  openSession,
  readFields,
  requireUser,
  seeOther,
  type WebEnv,
  withSession,
} from './web.js';

export function browserRoutes(instance: Instance): Hono<WebEnv> {
  const routes = new Hono<WebEnv>();
  const session = withSession(instance);
  const user = requireUser(instance);
  const home = `${instance.subPath}/`;

  routes.get('/', session, (c) => {
    const visitor = instance.users.get(c.var.session.userId ?? 0);
    const own = instance.repositories.filter(({ ownerId }) => ownerId === visitor?.id);
    return c.html(homePage(instance, visitor, own, c.var.session.csrf));
  });

  routes.get('/user/login', session, (c) =>
    c.var.session.userId === undefined ? c.html(loginPage(instance)) : seeOther(c, home),
  );

  // No CSRF token is asked for here, in any version.
  routes.post('/user/login', async (c) => {
    const field = await readFields(c);
    const found = instance.userByPassword(field('user_name'), field('password'));
    if (found === undefined) return c.html(loginPage(instance, 'Username or password is incorrect.'));
    const bar = barOf(found);
    if (bar !== undefined) return c.html(barredPage(instance, bar));
    openSession(instance, c, found.id);
    const wanted = getCookie(c, 'redirect_to') ?? '';
    deleteCookie(c, 'redirect_to', cookieOptions(instance));
    return seeOther(c, /^\/(?![/\\])/.test(wanted) ? wanted : home);
  });

  routes.post('/user/logout', session, (c) => {
    instance.sessions.delete(getCookie(c, instance.variant.sessionCookie) ?? '');
    deleteCookie(c, instance.variant.sessionCookie, cookieOptions(instance));
    return seeOther(c, home);
  });

  routes.get('/user/settings/applications', session, user, (c) => {
    const authorized = [...instance.grants.values()]
      .filter((grant) => grant.userId === c.var.user.id)
      .flatMap((grant) => {
        const application = instance.applications.get(grant.applicationId);
        return application === undefined ? [] : [{ application, grant }];
      });
    return c.html(applicationsPage(instance, authorized, c.var.session.csrf));
  });

  routes.post('/user/settings/applications/oauth2/:appId/revoke/:grantId', session, user, (c) => {
    const grant = instance.grants.get(Number(c.req.param('grantId')));
    if (grant?.userId !== c.var.user.id) return c.html(errorPage(instance, 'Not Found'), 404);
    instance.removeGrant(grant.id);
    return answerJson(c, { redirect: `${instance.subPath}/user/settings/applications` });
  });

  routes.get('/:owner/:repo', session, (c) => {
    const found = visibleRepository(instance, c);
    if (found === undefined) return c.html(errorPage(instance, 'Not Found'), 404);
    return c.html(repositoryPage(instance, found.owner, found.repository));
  });

  routes.get('/:owner/:repo/issues/:number', session, (c) => {
    const found = visibleRepository(instance, c);
    const issue = found?.repository.issues.find(({ number }) => number === Number(c.req.param('number')));
    if (found === undefined || issue === undefined) return c.html(errorPage(instance, 'Not Found'), 404);
    return c.html(issuePage(instance, found.repository, issue));
  });
  return routes;
}

function visibleRepository(instance: Instance, c: Context<WebEnv>) {
  const repository = instance.repository(c.req.param('owner') ?? '', c.req.param('repo') ?? '');
  const owner = instance.users.get(repository?.ownerId ?? 0);
  if (repository === undefined || owner === undefined) return undefined;
  return repository.private && owner.id !== c.var.session.userId ? undefined : { repository, owner };
}
