import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { codeOf, openOffice, systemRoles } from './acts.ts';

const world = await openWorld(t);
const { ask } = world;
const { act, done, found, join, role, people } = openOffice(world);

t.test('C6 each role does what its permissions say, and gives no more than it has', async (t) => {
  const [boss, admin, member, clerk, other, stranger] = (await people(
    'r-owner',
    'r-admin',
    'r-member',
    'r-clerk',
    'r-other',
    'r-stranger',
  )) as [Person, Person, Person, Person, Person, Person];
  const id = await found(boss, [member, other]);
  await join(boss, id, admin, systemRoles.admin);
  const clerks = await role(boss, id, 'clerk', { members: ['read', 'write'], roles: ['write'] });
  const bosses = await role(boss, id, 'chief', { '*': ['*'] });
  await join(boss, id, clerk, clerks);
  const everyone = { owner: boss, admin, clerk, member, stranger };
  const tries: [what: string, mutation: string, input: object, expected: Record<string, string | undefined>][] = [
    [
      'changes it',
      'updateOrganization',
      { organizationId: id, description: 'x' },
      { clerk: 'FORBIDDEN', member: 'FORBIDDEN', stranger: 'NOT_FOUND' },
    ],
    [
      'makes departments',
      'createDepartment',
      { organizationId: id },
      { clerk: 'FORBIDDEN', member: 'FORBIDDEN', stranger: 'NOT_FOUND' },
    ],
    [
      'makes positions',
      'createPosition',
      { organizationId: id },
      { clerk: 'FORBIDDEN', member: 'FORBIDDEN', stranger: 'NOT_FOUND' },
    ],
    [
      'makes a small role',
      'createRole',
      { organizationId: id, permissions: { members: ['read'] } },
      { member: 'FORBIDDEN', stranger: 'NOT_FOUND' },
    ],
    [
      'makes a role that reads all',
      'createRole',
      { organizationId: id, permissions: { '*': ['read'] } },
      { clerk: 'FORBIDDEN', member: 'FORBIDDEN', stranger: 'NOT_FOUND' },
    ],
    [
      'makes a role that does all',
      'createRole',
      { organizationId: id, permissions: { documents: ['*'] } },
      { admin: 'FORBIDDEN', clerk: 'FORBIDDEN', member: 'FORBIDDEN', stranger: 'NOT_FOUND' },
    ],
    [
      'makes an admin',
      'assignRole',
      { organizationId: id, userId: other.id, roleId: systemRoles.admin },
      { clerk: 'FORBIDDEN', member: 'FORBIDDEN', stranger: 'NOT_FOUND' },
    ],
    [
      'makes a chief',
      'assignRole',
      { organizationId: id, userId: other.id, roleId: bosses },
      { admin: 'FORBIDDEN', clerk: 'FORBIDDEN', member: 'FORBIDDEN', stranger: 'NOT_FOUND' },
    ],
    [
      'makes an owner',
      'assignRole',
      { organizationId: id, userId: other.id, roleId: systemRoles.owner },
      // Each is refused for the first reason that holds: by now the other one is a chief.
      { owner: 'CONFLICT', admin: 'FORBIDDEN', clerk: 'FORBIDDEN', member: 'FORBIDDEN', stranger: 'NOT_FOUND' },
    ],
    [
      'removes the owner',
      'removeFromOrganization',
      { organizationId: id, userId: boss.id },
      { owner: 'FORBIDDEN', admin: 'FORBIDDEN', clerk: 'FORBIDDEN', member: 'FORBIDDEN', stranger: 'NOT_FOUND' },
    ],
    [
      'closes it',
      'closeOrganization',
      { organizationId: id },
      { owner: 'skip', admin: 'FORBIDDEN', clerk: 'FORBIDDEN', member: 'FORBIDDEN', stranger: 'NOT_FOUND' },
    ],
    [
      'hands it over',
      'transferOrganization',
      { organizationId: id, userId: other.id },
      { owner: 'skip', admin: 'FORBIDDEN', clerk: 'FORBIDDEN', member: 'FORBIDDEN', stranger: 'NOT_FOUND' },
    ],
    [
      'makes rooms',
      'createOrganizationRoom',
      { organizationId: id },
      { clerk: 'FORBIDDEN', member: 'FORBIDDEN', stranger: 'NOT_FOUND' },
    ],
  ];
  let n = 0;
  for (const [what, mutation, input, expected] of tries) {
    // The strongest last, so that what they change does not matter to the others.
    for (const [name, by] of Object.entries(everyone).reverse()) {
      if (expected[name] === 'skip') continue;
      n += 1;
      const named = mutation === 'createPosition' ? { title: `t${n}` } : { name: `n${n}` };
      const whole = /^create/.test(mutation) ? { ...named, ...input } : input;
      t.equal(codeOf(await act(by, mutation, whole)), expected[name], `${name} ${what}`);
    }
  }
  t.equal(codeOf(await act(undefined, 'createOrganization', { name: 'x' })), 'FORBIDDEN', 'nobody without a token');
  t.equal(
    codeOf(await act(admin, 'assignRole', { organizationId: id, userId: admin.id, roleId: systemRoles.member })),
    'FORBIDDEN',
    'nobody gives themselves a role',
  );
  t.equal(
    codeOf(await act(admin, 'removeFromOrganization', { organizationId: id, userId: other.id })),
    'FORBIDDEN',
    'nobody takes away a role that allows more than theirs',
  );
  t.notOk((await act(boss, 'removeFromOrganization', { organizationId: id, userId: other.id })).errors);
});

t.test(
  'C6 roles of an organization’s own are changed, kept while someone has them, and told from system roles',
  async (t) => {
    const [ann, bob] = (await people('maker', 'holder')) as [Person, Person];
    const id = await found(ann);
    const reader = await role(ann, id, 'Reader', { documents: ['read'] });
    t.equal(
      codeOf(await act(ann, 'createRole', { organizationId: id, name: 'reader', permissions: {} })),
      'CONFLICT',
      'one name in any case',
    );
    t.equal(codeOf(await act(ann, 'createRole', { organizationId: id, name: 'Owner', permissions: {} })), 'CONFLICT');
    for (const permissions of [
      [],
      'x',
      { documents: 'read' },
      { documents: [1] },
      { Documents: ['read'] },
      { '': [] },
    ]) {
      const answer = await act(ann, 'createRole', { organizationId: id, name: 'odd', permissions });
      t.equal(codeOf(answer), 'BAD_USER_INPUT', JSON.stringify(permissions));
    }
    await join(ann, id, bob, reader);
    const allowed = async (action: string) =>
      (
        await ask(
          'query($id: UUID!, $action: String!) { permission(organizationId: $id, action: $action, resource: "documents") { isAllowed } }',
          { id, action },
          bob.token,
        )
      ).data.permission.isAllowed;
    t.equal(await allowed('write'), false);
    await done(ann, 'updateRole', { roleId: reader, permissions: { documents: ['read', 'write'] } });
    t.equal(await allowed('write'), true, 'changed for all who have it, at once');
    t.equal(codeOf(await act(ann, 'deleteRole', { roleId: reader })), 'CONFLICT', 'someone has it');
    await done(ann, 'assignRole', { organizationId: id, userId: bob.id, roleId: systemRoles.member });
    t.notOk((await act(ann, 'deleteRole', { roleId: reader })).errors);
    for (const roleId of Object.values(systemRoles)) {
      t.equal(codeOf(await act(ann, 'updateRole', { roleId, permissions: { '*': ['*'] } })), 'NOT_FOUND');
      t.equal(codeOf(await act(ann, 'deleteRole', { roleId })), 'NOT_FOUND');
    }
    const elsewhere = await found(ann);
    const foreign = await role(ann, elsewhere, 'Foreign', {});
    t.equal(
      codeOf(await act(ann, 'assignRole', { organizationId: id, userId: bob.id, roleId: foreign })),
      'NOT_FOUND',
      'a role of another organization is none here',
    );
  },
);
