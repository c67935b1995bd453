import t from 'tap';
import { fieldOf, listen } from '../events/listen.ts';
import { openWorld, type Person } from '../world.ts';
import { codeOf, openOffice, systemRoles } from './acts.ts';

t.setTimeout(120_000);
const world = await openWorld(t);
const { ask, owner } = world;
const { act, done, found, join, role, department, room, inRoom, people } = openOffice(world);

const work = (by: Person, organizationId: string, { id: userId }: Person, departmentId?: string) =>
  done(by, 'assignDepartment', { organizationId, userId, departmentId });

t.test('C6 a room of an organization has its members: who joins or leaves it joins or leaves the room', async (t) => {
  const [ann, bob, cat] = (await people('ann', 'bob', 'cat')) as [Person, Person, Person];
  const id = await found(ann, [bob]);
  const channelId = await room(ann, id);
  t.strictSame(await inRoom(channelId), ['ann', 'bob']);
  await join(ann, id, cat);
  t.strictSame(await inRoom(channelId), ['ann', 'bob', 'cat']);
  const read = async (by: Person) =>
    (
      await ask(
        'query($id: UUID!) { channel(id: $id) { name messages { totalCount } organizationRoom { organization { name } department { name } } } }',
        { id: channelId },
        by.token,
      )
    ).data.channel;
  await done(cat, 'sendMessage', { channelId, text: 'hello all' });
  t.strictSame(await read(bob), {
    name: 'Room',
    messages: { totalCount: 1 },
    organizationRoom: { organization: { name: 'Works' }, department: null },
  });
  await done(bob, 'leaveOrganization', { organizationId: id });
  t.equal(await read(bob), null);
  await done(ann, 'removeFromOrganization', { organizationId: id, userId: cat.id });
  t.equal(await read(cat), null);
  t.strictSame(await inRoom(channelId), ['ann']);
});

t.test('C7 a room of a department has those who work there and who leads it, and if told so those below', async (t) => {
  const [ann, bob, cat] = (await people('d-ann', 'd-bob', 'd-cat')) as [Person, Person, Person];
  const id = await found(ann, [bob, cat]);
  const works = await department(ann, id, 'Works');
  const paint = await department(ann, id, 'Paint', { parentId: works });
  const other = await department(ann, id, 'Other');
  const narrow = await room(ann, id, { departmentId: works });
  const wide = await room(ann, id, { departmentId: works, withSubdepartments: true });
  const both = async () => [await inRoom(narrow), await inRoom(wide)];
  t.strictSame(await both(), [[], []], 'nobody works there yet');
  await work(ann, id, bob, works);
  await work(ann, id, cat, paint);
  t.strictSame(await both(), [['d-bob'], ['d-bob', 'd-cat']]);
  await done(ann, 'assignManager', { departmentId: works, userId: ann.id });
  t.strictSame(await both(), [
    ['d-ann', 'd-bob'],
    ['d-ann', 'd-bob', 'd-cat'],
  ]);
  await done(ann, 'moveDepartment', { departmentId: paint, parentId: other });
  t.strictSame(await both(), [
    ['d-ann', 'd-bob'],
    ['d-ann', 'd-bob'],
  ]);
  await done(ann, 'transferDuties', { organizationId: id, fromUserId: ann.id, toUserId: cat.id }, 'departments { id }');
  t.strictSame(await both(), [
    ['d-bob', 'd-cat'],
    ['d-bob', 'd-cat'],
  ]);
  await work(ann, id, bob);
  t.strictSame(await both(), [['d-cat'], ['d-cat']]);
  await done(cat, 'leaveOrganization', { organizationId: id });
  t.strictSame(await both(), [[], []]);
  await work(ann, id, bob, works);
  const { rows } = await owner.query(
    'select owner_id, role from chat.channels join chat.members on channel_id = id where id = $1',
    [narrow],
  );
  t.strictSame(rows, [{ owner_id: bob.id, role: 'owner' }], 'who comes into an empty room answers for it');
});

t.test('C7 who makes rooms sees those they are not in, and a department with rooms stays', async (t) => {
  const [ann, bob] = (await people('o-ann', 'o-bob')) as [Person, Person];
  const id = await found(ann, [bob]);
  const departmentId = await department(ann, id, 'Yard');
  const channelId = await room(ann, id, { departmentId });
  const seen = async (by: Person) =>
    (
      await ask(
        'query($id: UUID!) { organization(id: $id) { rooms { nodes { channelId department { name } channel { name } } } } }',
        { id },
        by.token,
      )
    ).data.organization.rooms.nodes;
  t.strictSame(await seen(ann), [{ channelId, department: { name: 'Yard' }, channel: null }], 'that it is, not what');
  t.strictSame(await seen(bob), []);
  t.equal(codeOf(await act(ann, 'deleteDepartment', { departmentId })), 'CONFLICT');
  await done(ann, 'releaseOrganizationRoom', { channelId });
  t.notOk((await act(ann, 'deleteDepartment', { departmentId })).errors);
  await room(ann, id, { departmentId: await department(ann, id, 'Field') });
  await owner.query('delete from organizations.organizations where id = $1', [id]);
  t.pass('where the organization goes, all of it does');
});

t.test('C6 nobody joins, is added, leaves or is removed by hand', async (t) => {
  const [ann, bob, eve] = (await people('h-ann', 'h-bob', 'h-eve')) as [Person, Person, Person];
  const id = await found(ann, [bob]);
  const channelId = await room(ann, id);
  t.equal(codeOf(await act(bob, 'leaveChannel', { channelId })), 'CONFLICT');
  t.equal(codeOf(await act(ann, 'addMember', { channelId, userId: eve.id })), 'CONFLICT');
  t.equal(codeOf(await act(ann, 'removeMember', { channelId, userId: bob.id })), 'CONFLICT');
  const publish = () => owner.query('update chat.channels set is_public = true where id = $1', [channelId]);
  await t.rejects(publish(), { code: 'PT409' }, 'nor is it made public');
  t.equal(codeOf(await act(bob, 'releaseOrganizationRoom', { channelId })), 'FORBIDDEN');
  t.equal(codeOf(await act(eve, 'releaseOrganizationRoom', { channelId })), 'NOT_FOUND');
  t.notOk((await act(ann, 'releaseOrganizationRoom', { channelId })).errors);
  await publish();
  t.notOk((await act(eve, 'joinRoom', { channelId })).errors, 'released, it is a room like others');
  t.notOk((await act(bob, 'leaveChannel', { channelId })).errors);
});

t.test('C6 a large room takes in a thousand at once, and the others by upkeep', async (t) => {
  const [ann] = (await people('l-ann')) as [Person];
  const id = await found(ann, [], { memberLimit: 10_000 });
  await owner.query(
    `with made as (
      insert into identity.users (username, display_name) select 'l-' || n, 'One of many' from generate_series(1, 1200) as n returning id
    )
    insert into organizations.memberships (organization_id, user_id, role_id) select $1, id, organizations._system_role('member') from made`,
    [id],
  );
  const channelId = await room(ann, id);
  const state = async () =>
    (
      await owner.query(
        'select is_behind, (select count(*)::integer from chat.members where channel_id = $1) as members from chat.organization_rooms where channel_id = $1',
        [channelId],
      )
    ).rows[0];
  t.strictSame(await state(), { is_behind: true, members: 1001 });
  await owner.query('select chat.follow_organizations()');
  t.strictSame(await state(), { is_behind: false, members: 1201 });
});

t.test('C6 when a role ends by the clock, upkeep takes them out of the rooms, and they are told', async (t) => {
  const [ann, bob] = (await people('c-ann', 'c-bob')) as [Person, Person];
  const id = await found(ann, [bob]);
  const channelId = await room(ann, id);
  const { data } = await ask('{ cursor }');
  const heard = listen(t, world.server.url, {
    query: 'subscription($after: String) { userEvents(after: $after) { event { type data } channel { id } } }',
    variables: { after: data.cursor },
    token: bob.token,
  });
  await owner.query(
    "update organizations.memberships set given_at = now() - interval '2 hours', ends_at = now() - interval '1 second' where user_id = $1",
    [bob.id],
  );
  await owner.query('select organizations.end_due()');
  t.strictSame(await inRoom(channelId), ['c-ann']);
  const types = new Set<string>();
  while (!types.has('organization_left') || !types.has('membership_left')) {
    types.add(fieldOf(await heard.next()).event.type);
  }
  t.pass('of the organization and of the room');
  await heard.stop();
});

t.test('C6 events tell those in the organization what changes there, and nobody else', async (t) => {
  const [ann, bob, eve] = (await people('e-ann', 'e-bob', 'e-eve')) as [Person, Person, Person];
  const id = await found(ann, [bob]);
  const query =
    'subscription($id: UUID!) { organizationEvents(organizationId: $id) { event { type data } user { username } } }';
  const stranger = listen(t, world.server.url, { query, variables: { id }, token: eve.token });
  t.equal((await stranger.next()).errors?.[0]?.extensions?.code, 'NOT_FOUND');
  const { data } = await ask('{ cursor }');
  const ear = listen(t, world.server.url, {
    query: query
      .replace('($id: UUID!)', '($id: UUID!, $after: String)')
      .replace('organizationId: $id', 'organizationId: $id, after: $after'),
    variables: { id, after: data.cursor },
    token: bob.token,
  });
  const told = async () => {
    const { event, user } = fieldOf(await ear.next());
    return [event.type, user?.username];
  };
  const place = await department(ann, id, 'Yard');
  t.strictSame(await told(), ['department_created', 'e-ann']);
  await done(ann, 'moveDepartment', { departmentId: place, parentId: await department(ann, id, 'Upper') });
  t.strictSame(await told(), ['department_created', 'e-ann']);
  t.strictSame(await told(), ['department_changed', 'e-ann']);
  await role(ann, id, 'reader', { documents: ['read'] });
  t.strictSame(await told(), ['role_created', 'e-ann']);
  await join(ann, id, eve);
  t.strictSame(await told(), ['organization_member_joined', 'e-eve']);
  await done(ann, 'assignRole', { organizationId: id, userId: eve.id, roleId: systemRoles.admin });
  t.strictSame(await told(), ['organization_member_changed', 'e-eve']);
  await done(ann, 'removeFromOrganization', { organizationId: id, userId: bob.id });
  const rest = await ear.rest();
  t.equal(
    rest.at(-1)?.errors?.[0]?.extensions?.code ?? rest.find(({ errors }) => errors)?.errors?.[0]?.extensions?.code,
    'NOT_FOUND',
    'who is out hears no more',
  );
});

t.test('C6 the rooms of a closed organization take no messages, and all is as it was when it opens', async (t) => {
  const [ann, bob] = (await people('z-ann', 'z-bob')) as [Person, Person];
  const id = await found(ann, [bob]);
  const channelId = await room(ann, id);
  const shut = await room(ann, id);
  await owner.query("update chat.channels set closed_at = now() - interval '1 day' where id = $1", [shut]);
  const send = async (to: string) => codeOf(await act(bob, 'sendMessage', { channelId: to, text: 'hi' }));
  await done(ann, 'closeOrganization', { organizationId: id });
  t.equal(await send(channelId), 'CONFLICT');
  await done(ann, 'reopenOrganization', { organizationId: id });
  t.equal(await send(channelId), undefined);
  t.equal(await send(shut), 'CONFLICT', 'what was closed before stays so');
});

t.test('C6 a removed account is gone from the rooms of its organizations', async (t) => {
  const [ann, bob] = (await people('g-ann', 'g-bob')) as [Person, Person];
  const id = await found(ann, [bob]);
  const channelId = await room(ann, id);
  const ordinary = (await done(ann, 'createRoom', { name: 'ordinary' }, 'channel { id }')).channel.id;
  t.notOk((await ask('mutation { removeAccount { ok } }', {}, ann.token)).errors);
  t.strictSame(await inRoom(channelId), ['g-bob']);
  t.strictSame(await inRoom(ordinary), []);
  const { rows } = await owner.query('select owner_id from chat.channels where id = $1', [channelId]);
  t.equal(rows[0].owner_id, bob.id);
});

t.test('C6 C7 whatever happens at once, those in the rooms are those who belong there', async (t) => {
  const [ann, ...others] = (await people('m-ann', ...Array.from({ length: 6 }, (_, n) => `m-${n}`))) as [
    Person,
    ...Person[],
  ];
  const id = await found(ann, others);
  const top = await department(ann, id, 'top', { managerId: ann.id });
  const low = await department(ann, id, 'low', { parentId: top });
  const side = await department(ann, id, 'side');
  const rooms = [
    await room(ann, id),
    await room(ann, id, { departmentId: top, withSubdepartments: true }),
    await room(ann, id, { departmentId: low }),
  ];
  const [one, two, three, four, five, six] = others as [Person, Person, Person, Person, Person, Person];
  const answers = await Promise.all([
    act(ann, 'assignDepartment', { organizationId: id, userId: one.id, departmentId: low }),
    act(ann, 'assignDepartment', { organizationId: id, userId: two.id, departmentId: top }),
    act(ann, 'moveDepartment', { departmentId: low, parentId: side }),
    act(ann, 'assignManager', { departmentId: low, userId: three.id }),
    act(three, 'leaveOrganization', { organizationId: id }),
    act(four, 'leaveOrganization', { organizationId: id }),
    act(ann, 'assignDepartment', { organizationId: id, userId: four.id, departmentId: low }),
    act(ann, 'assignDepartment', { organizationId: id, userId: five.id, departmentId: low }),
    act(ann, 'assignManager', { departmentId: top, userId: six.id }),
    act(six, 'sendMessage', { channelId: rooms[0], text: 'busy' }),
    act(five, 'sendMessage', { channelId: rooms[0], text: 'busy' }),
  ]);
  const codes = answers.map(codeOf).filter((code) => code && code !== 'NOT_FOUND');
  t.strictSame(codes, [], 'each is done, or met someone who had left');
  const { rows } = await owner.query(
    `select coalesce(wanted.user_id, present.user_id) from chat._organization_room_members as wanted
    full join (select * from chat.members where channel_id = any ($1)) as present using (channel_id, user_id)
    where (wanted.channel_id is null or wanted.channel_id = any ($1)) and (wanted.user_id is null or present.joined_at is null)`,
    [rooms],
  );
  t.strictSame(rows, []);
});
