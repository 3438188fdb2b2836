/** Rows as the API shows them. */
import type { Instance } from './instance.js';
import type { Application, Issue, PersonalToken, Repository, User } from './rows.js';
import { avatarOf } from './tokens.js';

export function asUser(instance: Instance, user: User) {
  return {
    id: user.id,
    login: user.login,
    login_name: '',
    source_id: 0,
    full_name: user.fullName,
    email: user.email,
    avatar_url: avatarOf(instance, user),
    html_url: `${instance.url}/${user.login}`,
    language: 'en-US',
    is_admin: user.admin,
    last_login: date(user.created),
    created: date(user.created),
    restricted: false,
    active: user.status !== 'unactivated',
    prohibit_login: user.status === 'prohibited',
    location: '',
    pronouns: '',
    website: '',
    description: '',
    visibility: 'public',
    followers_count: 0,
    following_count: 0,
    starred_repos_count: 0,
    username: user.login,
  };
}

export function asOrganization(name: string) {
  return { name, full_name: '', username: name, description: '', visibility: 'public' };
}

export function asRepository(instance: Instance, repository: Repository) {
  const owner = instance.users.get(repository.ownerId);
  const fullName = `${owner?.login}/${repository.name}`;
  return {
    id: repository.id,
    owner: owner && asUser(instance, owner),
    name: repository.name,
    full_name: fullName,
    description: repository.description,
    private: repository.private,
    html_url: `${instance.url}/${fullName}`,
    clone_url: `${instance.url}/${fullName}.git`,
    default_branch: 'main',
    open_issues_count: repository.issues.length,
  };
}

export function asIssue(instance: Instance, repository: Repository, issue: Issue) {
  const { id, name, full_name, html_url } = asRepository(instance, repository);
  const author = instance.users.get(issue.authorId);
  return {
    id: issue.id,
    url: `${instance.url}/api/v1/repos/${full_name}/issues/${issue.number}`,
    html_url: `${html_url}/issues/${issue.number}`,
    number: issue.number,
    user: author && asUser(instance, author),
    title: issue.title,
    body: issue.body,
    labels: [],
    state: 'open',
    comments: 0,
    created_at: date(issue.created),
    updated_at: date(issue.created),
    repository: { id, name, full_name },
  };
}

/** The secret is shown when it is made, and is "" ever after. */
export function asApplication(application: Application, secret: string) {
  return {
    id: application.id,
    name: application.name,
    client_id: application.clientId,
    client_secret: secret,
    confidential_client: application.confidential,
    redirect_uris: application.redirectUris,
    created: date(application.created),
  };
}

export function asPersonalToken(token: PersonalToken, sha1: string) {
  return {
    id: token.id,
    name: token.name,
    sha1,
    token_last_eight: token.token.slice(-8),
    scopes: [...token.scopes],
    created_at: date(token.created),
    repositories: token.repositories ?? null,
  };
}

function date(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}
