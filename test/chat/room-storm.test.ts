import { randomInt } from 'node:crypto';
import t from 'tap';
import { type Answer, openWorld, type Person } from '../world.ts';
import { codeOf, openActs } from './room-acts.ts';

// A dozen people do whatever they can to three rooms, many at once: nothing but typed refusals, and after each wave the
// rooms are as their rules say.

const world = await openWorld(t);
const { owner } = world;
const { act, done, room, people } = openActs(world);

const crowd: readonly Person[] = await people(...Array.from({ length: 12 }, (_, n) => `storm${n}`));
const one = <Item>(of: readonly Item[]): Item => of[randomInt(of.length)] as Item;
const [first] = crowd as [Person];
const rooms = [await room(first, { isPublic: true }), await room(first, { isPublic: true }), await room(first)];
await done(first, 'updateRoom', { channelId: rooms[1], requiresApproval: true });
for (const channelId of rooms) await done(first, 'updateRoom', { channelId, maxMembers: 6 });
const tokens: string[] = [];

let inside: { id: string; channelId: string }[] = [];

/** Something that someone does in a room: mostly one who was in it when the wave began. */
async function attempt(mutation: string, input: (channelId: string) => object = () => ({})) {
  const { id, channelId } = randomInt(4) > 0 ? one(inside) : { id: one(crowd).id, channelId: one(rooms) };
  return act(
    crowd.find((each) => each.id === id),
    mutation,
    { channelId, ...input(channelId) },
  );
}
const toSomeone = () => ({ userId: one(crowd).id });
const tries: (() => Promise<Answer>)[] = [
  ...['leaveChannel', 'archiveRoom', 'reopenRoom'].map((mutation) => () => attempt(mutation)),
  ...['joinRoom', 'requestToJoin', 'withdrawRequest', 'declineInvitation'].map(
    (mutation) => () => act(one(crowd), mutation, { channelId: one(rooms) }),
  ),
  ...['addMember', 'inviteToRoom', 'approveRequest', 'declineRequest', 'removeMember', 'handOverRoom'].map(
    (mutation) => () => attempt(mutation, toSomeone),
  ),
  ...['muteMember', 'unmuteMember', 'banFromRoom', 'unbanFromRoom', 'withdrawInvitation'].map(
    (mutation) => () => attempt(mutation, toSomeone),
  ),
  () => attempt('changeMemberRole', () => ({ ...toSomeone(), role: one(['ADMIN', 'MODERATOR', 'MEMBER']) })),
  () => attempt('sendMessage', () => ({ text: 'hello' })),
  () => act(one(crowd), 'joinByLink', { token: tokens.length > 0 ? one(tokens) : 'none' }),
  async () => {
    const answer = await attempt('createRoomLink', () => ({ maxUses: 2 }));
    if (!answer.errors) tokens.push(answer.data.createRoomLink.newRoomLink.token);
    return answer;
  },
];

/** What must never be, by name, and how often it is. */
const broken = `
  select 'a count that is not the number of members' as what, count(*)::integer as times
  from chat.rooms as room
  where member_count <> (select count(*) from chat.members as member where member.channel_id = room.channel_id)
  union all select 'more members than the limit', count(*)::integer from chat.rooms where member_count > max_members
  union all select 'someone who is banned, and in', count(*)::integer
  from chat.room_bans join chat.members using (channel_id, user_id)
  union all select 'someone who is in, and waits', count(*)::integer
  from (select channel_id, user_id from chat.room_invitations union all select channel_id, user_id from chat.join_requests) as waiting
  join chat.members using (channel_id, user_id)
  union all select 'an owner who is not the owner', count(*)::integer
  from chat.channels as channel
  where (select array_agg(user_id) from chat.members as member where member.channel_id = channel.id and role = 'owner')
    is distinct from case when owner_id is not null then array[owner_id] end
  union all select 'a link of someone who is not in', count(*)::integer
  from chat.room_links as link
  where not exists (select from chat.members as member where (member.channel_id, member.user_id) = (link.channel_id, link.created_by))
  union all select 'an owner who is muted', count(*)::integer
  from chat.room_mutes as mute join chat.channels as channel on (channel.id, channel.owner_id) = (mute.channel_id, mute.user_id)`;

t.test('C2 C3 whatever many do to rooms at once, the rules of rooms hold', async (t) => {
  const codes = new Map<string, number>();
  for (let wave = 0; wave < 25; wave += 1) {
    // So that there is always something to do, and someone who may.
    await owner.query(`
      update chat.channels set closed_at = null where closed_at is not null;
      delete from chat.room_bans where random() < 0.5 or user_id = '${first.id}';
      insert into chat.members (channel_id, user_id, role)
        select id, '${first.id}', 'owner' from chat.channels as channel
        where not exists (select from chat.members as member where member.channel_id = channel.id);
      update chat.channels set owner_id = '${first.id}' where owner_id is null;
      update chat.members set role = 'admin' where role in ('member', 'moderator') and random() < 0.5`);
    inside = (await owner.query('select user_id as id, channel_id as "channelId" from chat.members')).rows;
    const answers = await Promise.all(Array.from({ length: 16 }, () => one(tries)()));
    for (const answer of answers) {
      const code = codeOf(answer) ?? 'done';
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    const { rows } = await owner.query(broken);
    t.strictSame(
      rows.filter(({ times }) => times > 0),
      [],
      `wave ${wave}`,
    );
  }
  t.strictSame(
    [...codes.keys()].filter(
      (code) => !['done', 'CONFLICT', 'FORBIDDEN', 'NOT_FOUND', 'TOO_MANY_REQUESTS'].includes(code),
    ),
    [],
    'and what is refused is refused by a rule',
  );
  t.ok((codes.get('done') ?? 0) > 40, JSON.stringify([...codes]));
  const { rows } = await owner.query(
    'select count(*)::integer as entries, count(distinct actor_id)::integer as actors from chat.moderation_entries',
  );
  t.ok(rows[0].entries > 10, JSON.stringify(rows[0]));
});
