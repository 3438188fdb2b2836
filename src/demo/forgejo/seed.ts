/** Who lives on the instance at its start: by default alice and bob, each with one public and one private repository. */
import { randomBytes } from 'node:crypto';
import type { Instance } from './instance.js';

export interface SeedRepository {
  readonly name: string;
  readonly description?: string;
  readonly private?: boolean;
}

export interface SeedUser {
  readonly login: string;
  readonly password: string;
  readonly fullName?: string;
  readonly email?: string;
  readonly admin?: boolean;
  readonly organizations?: readonly string[];
  readonly repositories?: readonly SeedRepository[];
}

/** alice and bob with the caller's passwords, or with random ones. */
export function demoUsers(passwords: { readonly alice?: string; readonly bob?: string } = {}): SeedUser[] {
  const random = () => randomBytes(9).toString('base64url');
  return [
    {
      login: 'alice',
      password: passwords.alice ?? random(),
      fullName: 'Alice Liddell',
      organizations: ['gardeners'],
      repositories: [
        { name: 'garden', description: 'Plans for the garden' },
        { name: 'diary', description: 'Nobody else reads this', private: true },
      ],
    },
    {
      login: 'bob',
      password: passwords.bob ?? random(),
      fullName: 'Bob Carpenter',
      repositories: [
        { name: 'workshop', description: 'Tools and jigs' },
        { name: 'ledger', description: 'What everything cost', private: true },
      ],
    },
  ];
}

export function addUsers(instance: Instance, users: readonly SeedUser[]): void {
  for (const seed of users) {
    const id = instance.nextId();
    instance.users.set(id, {
      id,
      login: seed.login,
      password: seed.password,
      fullName: seed.fullName ?? '',
      email: seed.email ?? `${seed.login}@example.test`,
      admin: seed.admin ?? false,
      organizations: seed.organizations ?? [],
      created: instance.now(),
      status: 'active',
    });
    for (const repository of seed.repositories ?? []) {
      instance.repositories.push({
        id: instance.repositories.length + 1,
        ownerId: id,
        name: repository.name,
        description: repository.description ?? '',
        private: repository.private ?? false,
        issues: [],
      });
    }
  }
}
