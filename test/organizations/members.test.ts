import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { codeOf, openOffice, systemRoles } from './acts.ts';

const world = await openWorld(t);
const { ask, owner, person } = world;
const { act, done, found, join, people } = openOffice(world);

type Seen = { user: { username: string }; role: { name: string } };
async function membersOf(organizationId: string, by: Person): Promise<string[]> {
  const { data } = await ask(
    'query($id: UUID!) { organization(id: $id) { memberships(first: 100) { nodes { user { username } role { name } } } } }',
    { id: organizationId },
    by.token,
  );
  const nodes: Seen[] = data.organization?.memberships.nodes ?? [];
  return nodes.map((each) => `${each.user.username} ${each.role.name}`).sort();
}

t.test('C6 who makes an organization owns it; others come by invitation and see it from then on', async (t) => {
  const [ann, bob, cat] = (await people('ann', 'bob', 'cat')) as [Person, Person, Person];
  const id = await found(ann, [], { name: ' Mill ', description: '' });
  const look = async (by: Person) =>
    (
      await ask(
        'query($id: UUID!) { organization(id: $id) { name description memberCount memberLimit owner { username } myMembership { role { name } } } }',
        { id },
        by.token,
      )
    ).data.organization;
  t.strictSame(await look(ann), {
    name: 'Mill',
    description: null,
    memberCount: 1,
    memberLimit: 1000,
    owner: { username: 'ann' },
    myMembership: { role: { name: 'owner' } },
  });
  t.equal(await look(bob), null, 'a stranger does not see it');

  const invite = await done(
    ann,
    'inviteToOrganization',
    { organizationId: id, userId: bob.id },
    'organizationInvitation { id role { name } invitedByUser { username } }',
  );
  const invitationId = invite.organizationInvitation.id;
  t.match(invite.organizationInvitation, { role: { name: 'member' }, invitedByUser: { username: 'ann' } });
  const { data } = await ask(
    '{ me { organizationInvitations { nodes { organization { name } card { organizationId name description } } } } }',
    {},
    bob.token,
  );
  const seen = { organization: null, card: { organizationId: id, name: 'Mill', description: null } };
  t.strictSame(data.me.organizationInvitations.nodes, [seen], 'who is invited sees what to, and no more of it');
  t.equal(await look(bob), null);
  t.equal(codeOf(await act(cat, 'acceptOrganizationInvitation', { invitationId })), 'NOT_FOUND', 'it is for one');
  const twice = await Promise.all([1, 2].map(() => act(bob, 'acceptOrganizationInvitation', { invitationId })));
  t.strictSame(twice.map(codeOf).sort(), ['NOT_FOUND', undefined], 'accepted twice at once, it counts once');
  t.strictSame(await membersOf(id, bob), ['ann owner', 'bob member']);
  t.equal((await look(ann)).memberCount, 2);
  t.equal(
    codeOf(await act(ann, 'inviteToOrganization', { organizationId: id, userId: bob.id })),
    'CONFLICT',
    'who is in is not invited',
  );

  t.notOk((await act(bob, 'leaveOrganization', { organizationId: id })).errors);
  t.equal(await look(bob), null);
  t.strictSame(await membersOf(id, ann), ['ann owner']);
  t.equal(codeOf(await act(bob, 'leaveOrganization', { organizationId: id })), 'NOT_FOUND');
});

t.test('C6 an invitation is declined, withdrawn, replaced, and runs out', async (t) => {
  const [ann, bob] = (await people('inviter', 'guest')) as [Person, Person];
  const id = await found(ann);
  const invite = async () =>
    (await done(ann, 'inviteToOrganization', { organizationId: id, userId: bob.id }, 'organizationInvitation { id }'))
      .organizationInvitation.id;
  const accept = async (invitationId: string) =>
    codeOf(await act(bob, 'acceptOrganizationInvitation', { invitationId }));
  const declined = await invite();
  t.equal(codeOf(await act(ann, 'declineOrganizationInvitation', { invitationId: declined })), 'NOT_FOUND');
  t.notOk((await act(bob, 'declineOrganizationInvitation', { invitationId: declined })).errors);
  t.equal(await accept(declined), 'NOT_FOUND');
  const withdrawn = await invite();
  t.equal(codeOf(await act(bob, 'withdrawOrganizationInvitation', { invitationId: withdrawn })), 'NOT_FOUND');
  t.notOk((await act(ann, 'withdrawOrganizationInvitation', { invitationId: withdrawn })).errors);
  t.equal(await accept(withdrawn), 'NOT_FOUND');
  const first = await invite();
  const second = await invite();
  t.equal(await accept(first), 'NOT_FOUND', 'the second took its place');
  await owner.query(
    "update organizations.invitations set created_at = now() - interval '15 days', expires_at = now() - interval '1 day' where id = $1",
    [second],
  );
  t.equal(await accept(second), 'NOT_FOUND', 'it has run out');
  const { rows } = await owner.query('select organizations.end_due() as ended');
  t.equal(rows[0].ended, '1', 'and is removed by upkeep');
});

t.test('C6 an invitation holds for as long as who gave it could give it again', async (t) => {
  const [ann, bob, cat] = (await people('i-owner', 'i-admin', 'i-guest')) as [Person, Person, Person];
  const id = await found(ann);
  await join(ann, id, bob, systemRoles.admin);
  const invited = await done(
    bob,
    'inviteToOrganization',
    { organizationId: id, userId: cat.id, roleId: systemRoles.admin },
    'organizationInvitation { id }',
  );
  await done(ann, 'assignRole', { organizationId: id, userId: bob.id, roleId: systemRoles.member });
  const accept = { invitationId: invited.organizationInvitation.id };
  t.equal(codeOf(await act(cat, 'acceptOrganizationInvitation', accept)), 'CONFLICT');
  await done(ann, 'assignRole', { organizationId: id, userId: bob.id, roleId: systemRoles.admin });
  t.notOk((await act(cat, 'acceptOrganizationInvitation', accept)).errors);
});

t.test('C6 the member limit holds when ten join at the same moment', async (t) => {
  const [ann, ...guests] = (await people('host', ...Array.from({ length: 10 }, (_, n) => `crowd-${n}`))) as [
    Person,
    ...Person[],
  ];
  const id = await found(ann, [], { memberLimit: 4 });
  const invitations: string[] = [];
  for (const { id: userId } of guests) {
    const made = await done(
      ann,
      'inviteToOrganization',
      { organizationId: id, userId },
      'organizationInvitation { id }',
    );
    invitations.push(made.organizationInvitation.id);
  }
  const answers = await Promise.all(
    guests.map((guest, n) => act(guest, 'acceptOrganizationInvitation', { invitationId: invitations[n] })),
  );
  t.equal(answers.filter((answer) => !answer.errors).length, 3);
  t.strictSame([...new Set(answers.map(codeOf).filter(Boolean))], ['CONFLICT']);
  t.match(answers.find(({ errors }) => errors)?.errors?.[0]?.message, /full: it has 4 members/);
  const { rows } = await owner.query(
    'select member_count, (select count(*)::integer from organizations.memberships where organization_id = $1) as counted from organizations.organizations where id = $1',
    [id],
  );
  t.strictSame(rows[0], { member_count: 4, counted: 4 });
  t.equal(
    codeOf(await act(ann, 'updateOrganization', { organizationId: id, memberLimit: 3 })),
    'CONFLICT',
    'it is not lowered below',
  );
  t.notOk((await act(ann, 'updateOrganization', { organizationId: id, memberLimit: 5 })).errors);
  const refused = answers.findIndex(({ errors }) => errors);
  t.notOk(
    (await act(guests[refused], 'acceptOrganizationInvitation', { invitationId: invitations[refused] })).errors,
    'the invitation was not lost by it',
  );
});

t.test('C6 a person has one role, with who gave it and an end; when it ends they are out', async (t) => {
  const [ann, bob, cat] = (await people('giver', 'taker', 'watcher')) as [Person, Person, Person];
  const id = await found(ann, [bob, cat]);
  const endsAt = new Date(Date.now() + 3_600_000).toISOString();
  const given = await done(
    ann,
    'assignRole',
    { organizationId: id, userId: bob.id, roleId: systemRoles.admin, endsAt },
    'membership { role { name } givenByUser { username } endsAt }',
  );
  t.match(given.membership, { role: { name: 'admin' }, givenByUser: { username: 'giver' } });
  t.equal(Date.parse(given.membership.endsAt), Date.parse(endsAt));
  t.strictSame(await membersOf(id, cat), ['giver owner', 'taker admin', 'watcher member']);
  t.equal(
    codeOf(
      await act(ann, 'assignRole', {
        organizationId: id,
        userId: bob.id,
        roleId: systemRoles.admin,
        endsAt: '2020-01-01T00:00:00Z',
      }),
    ),
    'BAD_USER_INPUT',
  );
  await owner.query(
    "update organizations.memberships set given_at = now() - interval '2 hours', ends_at = now() - interval '1 second' where user_id = $1",
    [bob.id],
  );
  t.strictSame(await membersOf(id, bob), [], 'from that moment they see nothing');
  t.equal(
    codeOf(await act(bob, 'createRole', { organizationId: id, name: 'x', permissions: {} })),
    'NOT_FOUND',
    'nor do anything',
  );
  await owner.query('select organizations.end_due()');
  t.strictSame(await membersOf(id, ann), ['giver owner', 'watcher member'], 'upkeep takes them out');
  await join(ann, id, bob);
  t.strictSame(await membersOf(id, bob), ['giver owner', 'taker member', 'watcher member'], 'they may come again');
});

t.test('C6 who is out by the clock makes room, and comes back before upkeep', async (t) => {
  const [ann, bob, cat] = (await people('keeper', 'late', 'next')) as [Person, Person, Person];
  const id = await found(ann, [bob], { memberLimit: 2 });
  const end = () =>
    owner.query(
      "update organizations.memberships set given_at = now() - interval '2 hours', ends_at = now() - interval '1 second' where user_id <> $1 and organization_id = $2",
      [ann.id, id],
    );
  await end();
  await join(ann, id, bob);
  t.strictSame(await membersOf(id, ann), ['keeper owner', 'late member']);
  await end();
  await join(ann, id, cat);
  t.strictSame(await membersOf(id, ann), ['keeper owner', 'next member']);
});

t.test('C6 an owner hands over, once, also when both do so at the same moment', async (t) => {
  const [ann, bob, cat] = (await people('first', 'second', 'third')) as [Person, Person, Person];
  const id = await found(ann, [bob, cat]);
  t.equal(codeOf(await act(ann, 'leaveOrganization', { organizationId: id })), 'CONFLICT', 'an owner does not leave');
  const answers = await Promise.all(
    [bob, cat].map((heir) => act(ann, 'transferOrganization', { organizationId: id, userId: heir.id })),
  );
  t.strictSame(answers.map(codeOf).sort(), ['FORBIDDEN', undefined]);
  const heir = answers[0]?.errors ? cat : bob;
  const members = await membersOf(id, ann);
  t.strictSame(
    members.filter((each) => / owner$/.test(each)),
    [`${heir.username} owner`],
  );
  t.ok(members.includes('first admin'));
  t.notOk((await act(ann, 'leaveOrganization', { organizationId: id })).errors, 'who handed it over may leave');
  const outsider = await person('outsider');
  t.equal(
    codeOf(await act(heir, 'transferOrganization', { organizationId: id, userId: outsider.id })),
    'NOT_FOUND',
    'only a member takes over',
  );
});

t.test('C6 a closed organization allows nothing to anybody, until its owner opens it again', async (t) => {
  const [ann, bob] = (await people('closer', 'inmate')) as [Person, Person];
  const id = await found(ann, [bob]);
  await done(ann, 'closeOrganization', { organizationId: id });
  t.strictSame(await membersOf(id, bob), []);
  t.equal(codeOf(await act(ann, 'createDepartment', { organizationId: id, name: 'x' })), 'CONFLICT');
  t.equal(codeOf(await act(bob, 'reopenOrganization', { organizationId: id })), 'NOT_FOUND');
  await done(ann, 'reopenOrganization', { organizationId: id });
  t.strictSame(await membersOf(id, bob), ['closer owner', 'inmate member']);
  await done(ann, 'closeOrganization', { organizationId: id });
  t.notOk((await act(bob, 'leaveOrganization', { organizationId: id })).errors, 'a closed one can be left');
});

t.test('C6 a removed account leaves: its organization goes to an admin, or closes where nobody is left', async (t) => {
  const [ann, bob, cat] = (await people('leaver', 'senior', 'deputy')) as [Person, Person, Person];
  const id = await found(ann, [bob]);
  await join(ann, id, cat, systemRoles.admin);
  const alone = await found(ann);
  t.notOk((await ask('mutation { removeAccount { ok } }', {}, ann.token)).errors);
  t.strictSame(await membersOf(id, bob), ['deputy owner', 'senior member']);
  const { rows } = await owner.query(
    'select owner_id, closed_at is not null as closed, member_count from organizations.organizations where id = $1',
    [alone],
  );
  t.strictSame(rows[0], { owner_id: null, closed: true, member_count: 0 });
});

t.test('C6 there are bounds on what one person makes', async (t) => {
  const ann = await person('maker-of-many');
  for (let n = 0; n < 20; n += 1) await found(ann);
  const answer = await act(ann, 'createOrganization', { name: 'one more' });
  t.match(answer.errors?.[0], {
    message: 'A user owns at most 20 organizations.',
    extensions: { code: 'CONFLICT' },
  });
});
