import t from 'tap';
import { fieldOf, listen } from '../events/listen.ts';
import { openWorld, type Person } from '../world.ts';
import { codeOf, openOffice, systemRoles } from './acts.ts';

// What the right to one thing must not give: power over others, what is said in rooms, or either for longer than it was lent.

t.setTimeout(120_000);
const world = await openWorld(t);
const { ask, owner } = world;
const { act, done, found, join, role, department, room, inRoom, people } = openOffice(world);

const work = (by: Person, organizationId: string, { id: userId }: Person, departmentId?: string) =>
  act(by, 'assignDepartment', { organizationId, userId, departmentId });
/** Someone in an organization of someone's, with a role that allows this much. */
async function hire(by: Person, organizationId: string, name: string, permissions: object): Promise<Person> {
  const [who] = (await people(name)) as [Person];
  await join(by, organizationId, who, await role(by, organizationId, `role of ${name}`, permissions));
  return who;
}

t.test('C6 C7 who may write members moves those below them, not themselves, and nobody into rooms', async (t) => {
  const [ann, bob] = (await people('a-ann', 'a-bob')) as [Person, Person];
  const id = await found(ann);
  await join(ann, id, bob, await role(ann, id, 'a reader of documents', { documents: ['read'] }));
  const board = await department(ann, id, 'Board');
  const yard = await department(ann, id, 'Yard');
  await done(ann, 'assignDepartment', { organizationId: id, userId: ann.id, departmentId: board });
  const secret = await room(ann, id, { departmentId: board });
  const clerk = await hire(ann, id, 'a-clerk', { members: ['write'], documents: ['read'] });
  const boss = await hire(ann, id, 'a-boss', { members: ['write'], documents: ['read'], rooms: ['write'] });
  const high = await hire(ann, id, 'a-high', { money: ['spend'] });
  t.equal(codeOf(await work(clerk, id, clerk, board)), 'FORBIDDEN', 'themselves');
  t.equal(codeOf(await work(clerk, id, clerk, yard)), 'FORBIDDEN', 'wherever to');
  t.equal(codeOf(await work(clerk, id, ann)), 'FORBIDDEN', 'the owner');
  t.equal(codeOf(await work(clerk, id, high, yard)), 'FORBIDDEN', 'whose role allows what theirs does not');
  t.equal(codeOf(await work(clerk, id, bob, board)), 'FORBIDDEN', 'into a room');
  t.strictSame(await inRoom(secret), ['a-ann']);
  t.notOk((await work(clerk, id, bob, yard)).errors);
  t.notOk((await work(boss, id, bob, board)).errors, 'who may make rooms');
  t.strictSame(await inRoom(secret), ['a-ann', 'a-bob']);
  t.notOk((await work(clerk, id, bob)).errors, 'out of one');
  t.notOk((await work(ann, id, ann, yard)).errors, 'the owner moves themselves');
});

t.test('C6 the owner of an organization is not banned from its rooms', async (t) => {
  const [ann, bob] = (await people('b-ann', 'b-bob')) as [Person, Person];
  const id = await found(ann);
  await join(ann, id, bob);
  const yard = await department(ann, id, 'Yard');
  await done(ann, 'assignDepartment', { organizationId: id, userId: bob.id, departmentId: yard });
  const channelId = await room(ann, id, { departmentId: yard });
  const { rows } = await owner.query('select owner_id from chat.channels where id = $1', [channelId]);
  t.equal(rows[0].owner_id, bob.id, 'who came first answers for the room');
  t.equal(codeOf(await act(bob, 'banFromRoom', { channelId, userId: ann.id })), 'FORBIDDEN');
  await done(ann, 'assignDepartment', { organizationId: id, userId: ann.id, departmentId: yard });
  t.equal(codeOf(await act(bob, 'banFromRoom', { channelId, userId: ann.id })), 'FORBIDDEN');
  t.strictSame(await inRoom(channelId), ['b-ann', 'b-bob']);
});

t.test('C7 who may write departments does not come into their rooms by it', async (t) => {
  const [ann, bob, cat] = (await people('c-ann', 'c-bob', 'c-cat')) as [Person, Person, Person];
  const id = await found(ann, [bob, cat]);
  const drawer = await hire(ann, id, 'c-drawer', { departments: ['read', 'write'] });
  const [board, yard] = [await department(ann, id, 'Board', { managerId: bob.id }), await department(ann, id, 'Yard')];
  await done(ann, 'assignDepartment', { organizationId: id, userId: drawer.id, departmentId: yard });
  const secret = await room(ann, id, { departmentId: board, withSubdepartments: true });
  const tries: [string, object][] = [
    ['assignManager', { departmentId: board, userId: drawer.id }],
    ['assignManager', { departmentId: yard, userId: drawer.id }],
    ['assignManager', { departmentId: board, userId: cat.id }],
    ['moveDepartment', { departmentId: yard, parentId: board }],
    ['createDepartment', { organizationId: id, name: 'x', managerId: drawer.id }],
    ['transferDuties', { organizationId: id, fromUserId: bob.id, toUserId: drawer.id }],
    ['transferDuties', { organizationId: id, fromUserId: bob.id, toUserId: cat.id }],
  ];
  for (const [mutation, input] of tries)
    t.equal(codeOf(await act(drawer, mutation, input)), 'FORBIDDEN', `${mutation} ${Object.keys(input)}`);
  t.strictSame(await inRoom(secret), ['c-bob']);
  t.notOk((await act(drawer, 'assignManager', { departmentId: yard, userId: cat.id })).errors, 'where no room is');
  const top = await department(drawer, id, 'Top', { managerId: cat.id });
  t.notOk((await act(drawer, 'moveDepartment', { departmentId: board, parentId: top })).errors, 'and nobody comes in');
  const planner = await hire(ann, id, 'c-planner', { departments: ['write'], rooms: ['write'] });
  t.notOk((await act(planner, 'moveDepartment', { departmentId: yard, parentId: board })).errors, 'who may make rooms');
  t.strictSame(await inRoom(secret), ['c-bob', 'c-drawer']);
  t.equal(codeOf(await act(planner, 'assignManager', { departmentId: board, userId: planner.id })), 'FORBIDDEN');
  const duties = { organizationId: id, fromUserId: bob.id, toUserId: ann.id };
  t.notOk((await act(bob, 'transferDuties', duties)).errors, 'a manager hands on what they lead');
  await done(ann, 'assignManager', { departmentId: board, userId: bob.id });
  t.notOk((await act(bob, 'leaveOrganization', { organizationId: id })).errors, 'what follows by itself is not asked');
  t.strictSame(await inRoom(secret), ['c-cat', 'c-drawer'], 'the manager above');
  t.notOk((await act(ann, 'assignManager', { departmentId: board, userId: ann.id })).errors, 'the owner may');
});

t.test('C8 what a proxy lets one do for a while does not stay', async (t) => {
  const [ann, bob, cat] = (await people('d-ann', 'd-bob', 'd-cat')) as [Person, Person, Person];
  const id = await found(ann, [bob, cat]);
  const board = await department(ann, id, 'Board');
  const other = await department(ann, id, 'Other');
  const channelId = await room(ann, id);
  await done(ann, 'grantProxy', { organizationId: id, agentId: bob.id, permissions: { '*': ['*'] } });
  const tries: [string, object][] = [
    ['assignDepartment', { organizationId: id, userId: cat.id, departmentId: board }],
    ['assignManager', { departmentId: board, userId: cat.id }],
    ['moveDepartment', { departmentId: board, parentId: other }],
    ['transferDuties', { organizationId: id, fromUserId: ann.id, toUserId: cat.id }],
    ['releaseOrganizationRoom', { channelId }],
  ];
  for (const [mutation, input] of tries) t.equal(codeOf(await act(bob, mutation, input)), 'FORBIDDEN', mutation);
  t.notOk(
    (await act(bob, 'updateDepartment', { departmentId: board, name: 'The board' })).errors,
    'other work goes on',
  );
});

t.test('C8 a proxy that another sets up does not grow beyond the role of who did', async (t) => {
  const [ann, bob, adm] = (await people('e-ann', 'e-bob', 'e-adm')) as [Person, Person, Person];
  const id = await found(ann, [bob]);
  await join(ann, id, adm, systemRoles.admin);
  const grant = async (permissions: object) =>
    codeOf(await act(adm, 'grantProxy', { organizationId: id, agentId: adm.id, principalId: bob.id, permissions }));
  t.equal(await grant({ '*': ['*'] }), 'FORBIDDEN', 'for a member, who may own it one day');
  t.equal(await grant({ '*': ['read', 'write'] }), undefined, 'what an admin may');
});

t.test('C6 C8 who may not read members does not hear of them, and of proxies hear the two', async (t) => {
  const [ann, bob, cat] = (await people('f-ann', 'f-bob', 'f-cat')) as [Person, Person, Person];
  const id = await found(ann, [bob]);
  const roleId = await role(ann, id, 'reader', { members: ['read'] });
  const [reader] = (await people('f-reader')) as [Person];
  await join(ann, id, reader, roleId);
  const dull = await hire(ann, id, 'f-dull', {});
  const { data } = await ask('{ cursor }');
  const ear = (who: Person) => {
    const heard = listen(t, world.server.url, {
      query:
        'subscription($id: UUID!, $after: String) { organizationEvents(organizationId: $id, after: $after) { event { type } } }',
      variables: { id, after: data.cursor },
      token: who.token,
    });
    return async (count: number) => {
      const types: string[] = [];
      while (types.length < count) types.push(fieldOf(await heard.next()).event.type);
      return types;
    };
  };
  const [toDull, toReader] = [ear(dull), ear(reader)];
  await join(ann, id, cat);
  await done(ann, 'grantProxy', { organizationId: id, agentId: bob.id, permissions: {} });
  await department(ann, id, 'Yard');
  t.strictSame(await toDull(1), ['department_created']);
  const first = (await toReader(2)).sort(); // of two topics: in the order of either
  t.strictSame(first, ['department_created', 'organization_member_joined'], 'and of the proxy nobody');
  await done(ann, 'updateRole', { roleId, permissions: {} });
  await done(cat, 'leaveOrganization', { organizationId: id });
  await department(ann, id, 'Field');
  t.strictSame(await toReader(2), ['role_changed', 'department_created'], 'nor what their role no longer shows');
  t.strictSame(await toDull(2), ['role_changed', 'department_created']);
  await done(ann, 'assignRole', { organizationId: id, userId: dull.id, roleId: systemRoles.member });
  await done(ann, 'assignRole', { organizationId: id, userId: bob.id, roleId });
  t.strictSame(await toDull(1), ['organization_member_changed'], 'with another role they do');
  const { rows } = await owner.query(
    "select topic from events.log where type = 'proxy_granted' and data ->> 'organization_id' = $1 order by topic",
    [id],
  );
  t.strictSame(
    rows.map(({ topic }) => topic),
    [ann, bob].map((who) => `user:${who.id}`).sort(),
  );
});

t.test('C6 a room of a closed organization is opened with that, and not by its own owner', async (t) => {
  const [ann, bob] = (await people('g-ann', 'g-bob')) as [Person, Person];
  const id = await found(ann, [bob]);
  const channelId = await room(ann, id);
  await done(ann, 'handOverRoom', { channelId, userId: bob.id });
  await done(bob, 'archiveRoom', { channelId });
  t.notOk((await act(bob, 'reopenRoom', { channelId })).errors);
  await done(ann, 'closeOrganization', { organizationId: id });
  t.equal(codeOf(await act(bob, 'reopenRoom', { channelId })), 'CONFLICT');
  t.equal(codeOf(await act(bob, 'sendMessage', { channelId, text: 'still here' })), 'CONFLICT');
  await done(ann, 'reopenOrganization', { organizationId: id });
  t.notOk((await act(bob, 'sendMessage', { channelId, text: 'again' })).errors);
});

t.test('C6 who is out by the clock reads and writes no more in its rooms, before upkeep takes them out', async (t) => {
  const [ann, bob] = (await people('h-ann', 'h-bob')) as [Person, Person];
  const id = await found(ann, [bob]);
  const channelId = await room(ann, id);
  const { message } = await done(bob, 'sendMessage', { channelId, text: 'mine' }, 'message { id }');
  const read = async () =>
    (
      await ask(
        'query($c: UUID!, $m: UUID!) { channel(id: $c) { name } message(id: $m) { text } channels { totalCount } }',
        { c: channelId, m: message.id },
        bob.token,
      )
    ).data;
  t.strictSame(await read(), { channel: { name: 'Room' }, message: { text: 'mine' }, channels: { totalCount: 1 } });
  await owner.query(
    "update organizations.memberships set given_at = now() - interval '2 hours', ends_at = now() - interval '1 second' where user_id = $1",
    [bob.id],
  );
  t.strictSame(await inRoom(channelId), ['h-ann', 'h-bob'], 'upkeep has not been there');
  t.strictSame(await read(), { channel: null, message: null, channels: { totalCount: 0 } });
  for (const [mutation, input] of [
    ['sendMessage', { channelId, text: 'still here' }],
    ['editMessage', { id: message.id, text: 'changed' }],
    ['addReaction', { messageId: message.id, emoji: '👍' }],
    ['markRead', { channelId }],
  ] as const)
    t.equal(codeOf(await act(bob, mutation, input)), 'NOT_FOUND', mutation);
});

t.test('C6 who is there for a while gives nobody a role for longer', async (t) => {
  const [ann, bob, cat] = (await people('i-ann', 'i-bob', 'i-cat')) as [Person, Person, Person];
  const id = await found(ann, [cat]);
  const hours = (count: number): string => new Date(Date.now() + count * 3_600_000).toISOString();
  const adm = (await people('i-adm'))[0] as Person;
  await join(ann, id, adm, systemRoles.admin, hours(2));
  const invite = (roleEndsAt?: string) =>
    act(
      adm,
      'inviteToOrganization',
      { organizationId: id, userId: bob.id, roleEndsAt },
      'organizationInvitation { id }',
    );
  t.equal(codeOf(await invite()), 'FORBIDDEN');
  t.equal(codeOf(await invite(hours(3))), 'FORBIDDEN');
  const assign = async (endsAt?: string) =>
    codeOf(await act(adm, 'assignRole', { organizationId: id, userId: cat.id, roleId: systemRoles.admin, endsAt }));
  t.equal(await assign(), 'FORBIDDEN');
  t.equal(await assign(hours(3)), 'FORBIDDEN');
  t.equal(await assign(hours(1)), undefined);
  const { organizationInvitation } = (await invite(hours(1.5))).data.inviteToOrganization;
  await done(ann, 'assignRole', { organizationId: id, userId: adm.id, roleId: systemRoles.admin, endsAt: hours(1) });
  const accept = { invitationId: organizationInvitation.id };
  t.equal(codeOf(await act(bob, 'acceptOrganizationInvitation', accept)), 'CONFLICT', 'the end has come nearer');
  await done(ann, 'assignRole', { organizationId: id, userId: adm.id, roleId: systemRoles.admin });
  t.notOk((await act(bob, 'acceptOrganizationInvitation', accept)).errors);
});

t.test('C6 who is only invited does not read its settings', async (t) => {
  const [ann, bob] = (await people('j-ann', 'j-bob')) as [Person, Person];
  const id = await found(ann, [], { description: 'Paint and more' });
  await done(ann, 'inviteToOrganization', { organizationId: id, userId: bob.id });
  const { data } = await ask(
    'query($id: UUID!) { organization(id: $id) { settings memberCount } me { organizationInvitations { nodes { card { name description } } } } }',
    { id },
    bob.token,
  );
  t.equal(data.organization, null);
  t.strictSame(data.me.organizationInvitations.nodes, [{ card: { name: 'Works', description: 'Paint and more' } }]);
});
