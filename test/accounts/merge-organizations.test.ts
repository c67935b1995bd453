import t from 'tap';
import { openOffice } from '../organizations/acts.ts';
import { openWorld, type Person } from '../world.ts';

// Rooms that follow an organization, when two accounts become one.

const world = await openWorld(t);
const { done, found, department, room, inRoom, people } = openOffice(world);
const boss = await world.person('boss', { operator: true });
const merge = (from: Person, into: Person) =>
  done(boss, 'mergeAccounts', { fromId: from.id, intoId: into.id, reason: 'one person' });

t.test(
  'C7 who is merged is in the rooms of what both belong to, has read what either had, and leads what either led',
  async (t) => {
    const [ann, old, kept] = (await people('ann', 'old', 'kept')) as [Person, Person, Person];
    const id = await found(ann, [old, kept]);
    const works = await department(ann, id, 'Works', { managerId: old.id });
    const paint = await department(ann, id, 'Paint');
    await done(ann, 'assignDepartment', { organizationId: id, userId: kept.id, departmentId: paint });
    const [everyone, narrow, other] = [
      await room(ann, id),
      await room(ann, id, { departmentId: works }),
      await room(ann, id, { departmentId: paint }),
    ];
    await done(ann, 'sendMessage', { channelId: everyone, text: 'read by the old one' });
    await done(old, 'markRead', { channelId: everyone, seq: '1' });

    await merge(old, kept);
    t.strictSame(await inRoom(everyone), ['ann', 'kept']);
    t.ok((await inRoom(narrow)).includes('kept'), 'they lead the department');
    t.ok((await inRoom(other)).includes('kept'), 'and work where they did');
    for (const each of [everyone, narrow, other]) t.notOk((await inRoom(each)).includes('old'));
    const { data } = await world.ask(
      'query ($id: UUID!) { channel(id: $id) { unread } }',
      { id: everyone },
      kept.token,
    );
    t.equal(data.channel.unread, 0);
  },
);

t.test('C7 who was in none comes into the rooms of what the other belonged to', async (t) => {
  const [eve, gone, stays] = (await people('eve', 'gone', 'stays')) as [Person, Person, Person];
  const id = await found(eve, [gone]);
  const everyone = await room(eve, id);
  await done(gone, 'sendMessage', { channelId: everyone, text: 'mine' });
  await merge(gone, stays);
  t.strictSame(await inRoom(everyone), ['eve', 'stays']);
  await done(stays, 'sendMessage', { channelId: everyone, text: 'mine too' });
});
