import type { Answer, Person, World } from '../world.ts';

/** What of a mutation's payload is read. */
const selections: Record<string, string> = {
  createRoom: 'channel { id }',
  updateRoom: 'channel { name description isPublic room { maxMembers requiresApproval lowestWriter slowModeSeconds } }',
  setRoomPassword: 'channel { room { hasPassword } }',
  archiveRoom: 'channel { closedAt }',
  reopenRoom: 'channel { closedAt }',
  handOverRoom: 'channel { ownerId }',
  changeMemberRole: 'member { role }',
  setMemberPermission: 'member { userId }',
  addMember: 'member { role }',
  joinRoom: 'member { role }',
  joinByLink: 'member { channelId role }',
  approveRequest: 'member { role }',
  inviteToRoom: 'roomInvitation { userId expiresAt }',
  createRoomLink: 'newRoomLink { token link { id uses maxUses } }',
  requestToJoin: 'joinRequest { text }',
  muteMember: 'roomMute { endsAt reason }',
  banFromRoom: 'roomBan { endsAt reason }',
  sendMessage: 'message { id seq sentAt }',
  editMessage: 'message { text }',
  forwardMessage: 'message { id }',
  addReaction: 'message { id }',
  addBookmark: 'bookmark { messageId }',
  deleteMessage: 'message { deletedAt }',
};

export const ranks = ['owner', 'admin', 'moderator', 'member'] as const;

export const codeOf = (answer: Answer): string | undefined => answer.errors?.[0]?.extensions?.code;

/** What people do in rooms, over HTTP. */
export function openActs({ ask, owner, person }: Pick<World, 'ask' | 'owner' | 'person'>) {
  const act = (by: Person | undefined, mutation: string, input: object): Promise<Answer> => {
    const type = `${mutation.charAt(0).toUpperCase()}${mutation.slice(1)}Input`;
    const selection = selections[mutation] ?? 'ok';
    return ask(`mutation ($input: ${type}!) { ${mutation}(input: $input) { ${selection} } }`, { input }, by?.token);
  };
  /** What must succeed. */
  const done = async (by: Person, mutation: string, input: object) => {
    const answer = await act(by, mutation, input);
    if (answer.errors) throw new Error(`${mutation}: ${answer.errors[0]?.message}`);
    return Object.values(answer.data[mutation])[0] as Record<string, string>;
  };
  const room = async (by: Person, input: object = {}): Promise<string> =>
    (await done(by, 'createRoom', { name: 'room', ...input })).id as string;
  const bring = async (by: Person, channelId: string, ...others: Person[]): Promise<void> => {
    for (const { id } of others) await done(by, 'addMember', { channelId, userId: id });
  };
  const people = async <const Names extends string[]>(...names: Names) =>
    (await Promise.all(names.map((name) => person(name)))) as { [index in keyof Names]: Person };
  const membersOf = async (channelId: string): Promise<string[]> => {
    const { rows } = await owner.query(
      "select username || ' ' || role as member from chat.members join identity.users on id = user_id where channel_id = $1 order by role, username",
      [channelId],
    );
    return rows.map(({ member }) => member);
  };
  /** The count that the room keeps, and those who are in it. */
  const counts = async (channelId: string): Promise<{ kept: number; counted: number }> => {
    const { rows } = await owner.query(
      'select member_count as kept, (select count(*)::integer from chat.members where members.channel_id = rooms.channel_id) as counted from chat.rooms where channel_id = $1',
      [channelId],
    );
    return rows[0];
  };
  /** A room with someone of each rank. */
  const ranked = async (name: string, input: object = {}) => {
    const [owning, admin, moderator, member, other] = await people(
      `${name}-owner`,
      `${name}-admin`,
      `${name}-moderator`,
      `${name}-member`,
      `${name}-other`,
    );
    const channelId = await room(owning, { name, ...input });
    await bring(owning, channelId, admin, moderator, member, other);
    for (const [person, role] of [
      [admin, 'ADMIN'],
      [moderator, 'MODERATOR'],
    ] as const)
      await done(owning, 'changeMemberRole', { channelId, userId: person.id, role });
    return { channelId, owner: owning, admin, moderator, member, other };
  };
  /** What the log of moderation tells someone, the oldest first. */
  const logOf = async (channelId: string, by: Person): Promise<string[]> => {
    const answer = await ask(
      `query ($id: UUID!) {
        moderationEntries(first: 50, filter: { channelId: { eq: $id } }, orderBy: ID_ASC) { nodes { action actor { username } user { username } reason } }
      }`,
      { id: channelId },
      by.token,
    );
    if (answer.errors) throw new Error(answer.errors[0]?.message);
    return answer.data.moderationEntries.nodes.map(
      ({ action, actor, user, reason }: Record<string, Record<string, string>>) =>
        [actor?.username, action, user?.username, reason].filter(Boolean).join(' '),
    );
  };
  return { act, done, room, bring, people, membersOf, counts, ranked, logOf };
}
