/** The part of `/api/v1` the demo and the tests need: users, repositories and issues. */
import { type Context, Hono } from 'hono';
import { applicationRoutes, personalTokenRoutes } from './api-credentials.js';
import {
  type ApiEnv,
  apiHeaders,
  identify,
  known,
  NOT_FOUND,
  readJson,
  refuse,
  requireScopes,
} from './api-guards.js';
import { asIssue, asOrganization, asRepository, asUser } from './api-views.js';
import type { Identity } from './credentials.js';
import type { Instance } from './instance.js';
import type { Repository } from './rows.js';
import type { RequiredScope } from './scopes.js';
import { answerJson } from './web.js';

export function apiRoutes(instance: Instance): Hono<ApiEnv> {
  const api = new Hono<ApiEnv>();
  const needs = (...scopes: RequiredScope[]) => requireScopes(instance, scopes);

  api.use(apiHeaders, identify(instance));
  api.get('/version', (c) => answerJson(c, { version: instance.settings.version }));

  api.get('/user', needs('read:user'), (c) => answerJson(c, asUser(instance, known(c).user)));
  api.get('/user/orgs', needs('read:user', 'read:organization'), (c) =>
    answerJson(c, known(c).user.organizations.map(asOrganization)),
  );
  api.get('/user/repos', needs('read:user', 'read:repository'), (c) => {
    const identity = known(c);
    const own = instance.repositories.filter(({ ownerId }) => ownerId === identity.user.id);
    const listed = own.filter((repository) => access(instance, repository, identity) === 'open');
    return answerJson(
      c,
      listed.map((repository) => asRepository(instance, repository)),
    );
  });

  api.get('/repos/:owner/:repo', needs('read:repository'), (c) =>
    withRepository(instance, c, 'repos', (repository) => answerJson(c, asRepository(instance, repository))),
  );
  api.get('/repos/:owner/:repo/issues', needs('read:issue'), (c) =>
    withRepository(instance, c, 'issues', (repository) =>
      answerJson(c, repository.issues.map((issue) => asIssue(instance, repository, issue)).reverse()),
    ),
  );
  api.post('/repos/:owner/:repo/issues', needs('write:issue'), (c) =>
    withRepository(instance, c, 'issues', async (repository) => {
      const { title, body } = await readJson(c);
      if (!isText(title) || title.trim() === '') return refuse(instance, c, 422, '[Title]: Required');
      const issue = instance.addIssue(repository, known(c).user, title, isText(body) ? body : '');
      return answerJson(c, asIssue(instance, repository, issue), 201);
    }),
  );

  api.route('/user/applications/oauth2', applicationRoutes(instance));
  api.route('/users/:login/tokens', personalTokenRoutes(instance));
  api.all('*', (c) => refuse(instance, c, 404, NOT_FOUND));
  return api;
}

function access(
  instance: Instance,
  repository: Repository,
  identity: Identity | undefined,
): 'open' | 'hidden' | 'public only' {
  if (repository.private && repository.ownerId !== identity?.user.id) return 'hidden';
  if (repository.private && identity?.scopes.has('public-only')) return 'public only';
  const only = identity?.kind === 'personal' ? identity.repositories : undefined;
  const fullName = asRepository(instance, repository).full_name;
  return only === undefined || only.includes(fullName) ? 'open' : 'hidden';
}

function withRepository(
  instance: Instance,
  c: Context<ApiEnv>,
  things: 'repos' | 'issues',
  answer: (repository: Repository) => Response | Promise<Response>,
): Response | Promise<Response> {
  const repository = instance.repository(c.req.param('owner') ?? '', c.req.param('repo') ?? '');
  const found = repository === undefined ? 'hidden' : access(instance, repository, c.var.identity);
  if (found === 'public only') return refuse(instance, c, 403, `token scope is limited to public ${things}`);
  if (repository === undefined || found === 'hidden') return refuse(instance, c, 404, NOT_FOUND);
  return answer(repository);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}
