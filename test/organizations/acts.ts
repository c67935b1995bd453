import type { Answer, Person, World } from '../world.ts';

/** What every organization has, by name. */
export const systemRoles = {
  owner: '00000000-0000-7000-8000-000000000001',
  admin: '00000000-0000-7000-8000-000000000002',
  member: '00000000-0000-7000-8000-000000000003',
} as const;

export const codeOf = (answer: Answer): string | undefined => answer.errors?.[0]?.extensions?.code;

/** What people do in organizations, each a request of its own. */
export function openOffice({ ask, owner, person }: Pick<World, 'ask' | 'owner' | 'person'>) {
  const act = (by: Person | undefined, mutation: string, input: object, selection = '__typename'): Promise<Answer> =>
    ask(
      `mutation($input: ${mutation[0]?.toUpperCase()}${mutation.slice(1)}Input!) { ${mutation}(input: $input) { ${selection} } }`,
      { input },
      by?.token,
    );
  const done: (...args: Parameters<typeof act>) => Promise<Answer['data']> = async (by, mutation, input, selection) => {
    const { data, errors } = await act(by, mutation, input, selection);
    if (errors) throw new Error(`${mutation} by ${by?.username}: ${JSON.stringify(errors)}`);
    return data[mutation];
  };
  const join = async (by: Person, organizationId: string, who: Person, roleId?: string, roleEndsAt?: string) => {
    const { organizationInvitation } = await done(
      by,
      'inviteToOrganization',
      { organizationId, userId: who.id, roleId, roleEndsAt },
      'organizationInvitation { id }',
    );
    await done(who, 'acceptOrganizationInvitation', { invitationId: organizationInvitation.id });
  };
  return {
    act,
    done,
    /** An organization of someone's, with its members. */
    async found(by: Person, members: Person[] = [], input: object = {}): Promise<string> {
      const { organization } = await done(by, 'createOrganization', { name: 'Works', ...input }, 'organization { id }');
      for (const member of members) await join(by, organization.id, member);
      return organization.id;
    },
    join,
    async role(by: Person, organizationId: string, name: string, permissions: object): Promise<string> {
      return (await done(by, 'createRole', { organizationId, name, permissions }, 'role { id }')).role.id;
    },
    async department(by: Person, organizationId: string, name: string, input: object = {}): Promise<string> {
      const made = await done(by, 'createDepartment', { organizationId, name, ...input }, 'department { id }');
      return made.department.id;
    },
    async room(by: Person, organizationId: string, input: object = {}): Promise<string> {
      const made = await done(
        by,
        'createOrganizationRoom',
        { organizationId, name: 'Room', ...input },
        'channel { id }',
      );
      return made.channel.id;
    },
    /** The names of those in a channel. */
    async inRoom(channelId: string): Promise<string[]> {
      const { rows } = await owner.query(
        'select username from chat.members join identity.users on id = user_id where channel_id = $1 order by username',
        [channelId],
      );
      return rows.map(({ username }) => username);
    },
    /** So many people, named after what they are for. */
    people: (...names: string[]): Promise<Person[]> => Promise.all(names.map((name) => person(name))),
  };
}
