import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { codeOf, openOffice } from './acts.ts';

t.setTimeout(120_000);
const world = await openWorld(t);
const { ask, owner } = world;
const { act, done, found, department, people } = openOffice(world);

type Row = { id: string; parent_id: string | null; lineage: string[] };
const treeOf = async (organizationId: string): Promise<Row[]> =>
  (
    await owner.query(
      'select id, parent_id, lineage from organizations.departments where organization_id = $1 order by id',
      [organizationId],
    )
  ).rows;

/** That every lineage is the way from the top that the parents make: so there is no cycle. */
function isTree(rows: Row[]): void {
  const byId = new Map(rows.map((row) => [row.id, row]));
  for (const { id, lineage } of rows) {
    const way: string[] = [];
    for (let at: string | null = id; at && way.length <= rows.length; at = byId.get(at)?.parent_id ?? null)
      way.unshift(at);
    assert.deepEqual(lineage, way);
  }
}

t.test('C7 departments form a tree with managers, and members work in one', async (t) => {
  const [ann, bob] = (await people('ann', 'bob')) as [Person, Person];
  const organizationId = await found(ann, [bob]);
  const works = await department(ann, organizationId, 'Works', { managerId: ann.id });
  const paint = await department(ann, organizationId, 'Paint', { parentId: works, managerId: bob.id });
  const foreman = await done(
    ann,
    'createPosition',
    { organizationId, title: 'Foreman', level: 3 },
    'position { id level }',
  );
  await done(ann, 'assignDepartment', { organizationId, userId: bob.id, departmentId: paint });
  await done(ann, 'assignPosition', { organizationId, userId: bob.id, positionId: foreman.position.id });
  const { data } = await ask(
    `query($id: UUID!) { organization(id: $id) { departments(orderBy: ID_ASC) { nodes {
      name manager { username } parent { name } children { nodes { name } } lineage
      memberships { nodes { user { username } position { title level } } } } } } }`,
    { id: organizationId },
    bob.token,
  );
  t.strictSame(data.organization.departments.nodes, [
    {
      name: 'Works',
      manager: { username: 'ann' },
      parent: null,
      children: { nodes: [{ name: 'Paint' }] },
      lineage: [works],
      memberships: { nodes: [] },
    },
    {
      name: 'Paint',
      manager: { username: 'bob' },
      parent: { name: 'Works' },
      children: { nodes: [] },
      lineage: [works, paint],
      memberships: { nodes: [{ user: { username: 'bob' }, position: { title: 'Foreman', level: 3 } }] },
    },
  ]);
  const again = await act(ann, 'createDepartment', { organizationId, name: 'PAINT', parentId: works });
  t.equal(codeOf(again), 'CONFLICT', 'one name beside those of one parent');
  t.notOk((await act(ann, 'createDepartment', { organizationId, name: 'Paint' })).errors, 'elsewhere it is free');
  t.equal(codeOf(await act(ann, 'deleteDepartment', { departmentId: works })), 'CONFLICT', 'there is one within it');
  t.notOk((await act(ann, 'deleteDepartment', { departmentId: paint })).errors);
  t.notOk((await act(ann, 'deletePosition', { positionId: foreman.position.id })).errors);
  const { rows } = await owner.query(
    'select department_id, position_id from organizations.memberships where organization_id = $1 and user_id = $2',
    [organizationId, bob.id],
  );
  t.strictSame(rows[0], { department_id: null, position_id: null }, 'who was there is nowhere, and still a member');
});

t.test('C7 what is of another organization, or of nobody, is not there', async (t) => {
  const [ann, eve] = (await people('here', 'there')) as [Person, Person];
  const [here, there] = [await found(ann), await found(eve)];
  const [mine, theirs] = [await department(ann, here, 'Mine'), await department(eve, there, 'Theirs')];
  const tries: [string, object][] = [
    ['createDepartment', { organizationId: here, name: 'x', parentId: theirs }],
    ['createDepartment', { organizationId: here, name: 'x', managerId: eve.id }],
    ['moveDepartment', { departmentId: mine, parentId: theirs }],
    ['moveDepartment', { departmentId: theirs }],
    ['updateDepartment', { departmentId: theirs, name: 'x' }],
    ['deleteDepartment', { departmentId: theirs }],
    ['assignManager', { departmentId: mine, userId: eve.id }],
    ['assignManager', { departmentId: theirs, userId: ann.id }],
    ['assignDepartment', { organizationId: here, userId: ann.id, departmentId: theirs }],
    ['assignDepartment', { organizationId: here, userId: eve.id, departmentId: mine }],
    ['assignPosition', { organizationId: here, userId: ann.id, positionId: mine }],
    ['createOrganizationRoom', { organizationId: here, name: 'x', departmentId: theirs }],
  ];
  for (const [mutation, input] of tries)
    t.equal(codeOf(await act(ann, mutation, input)), 'NOT_FOUND', `${mutation} ${Object.keys(input)}`);
  const { data } = await ask('query($id: UUID!) { department(id: $id) { name } }', { id: theirs }, ann.token);
  t.equal(data.department, null);
});

t.test('C7 a department is never moved below itself, also when two are moved at the same moment', async (t) => {
  const ann = (await people('mover'))[0] as Person;
  const organizationId = await found(ann);
  const one = await department(ann, organizationId, 'one');
  const below = await department(ann, organizationId, 'below', { parentId: one });
  for (const parentId of [one, below])
    t.equal(codeOf(await act(ann, 'moveDepartment', { departmentId: one, parentId })), 'CONFLICT');
  const other = await department(ann, organizationId, 'other');
  for (let round = 0; round < 5; round += 1) {
    const answers = await Promise.all([
      act(ann, 'moveDepartment', { departmentId: one, parentId: other }),
      act(ann, 'moveDepartment', { departmentId: other, parentId: below }),
    ]);
    t.strictSame(answers.map(codeOf).sort(), ['CONFLICT', undefined], 'the second of the two is refused');
    isTree(await treeOf(organizationId));
    for (const departmentId of [one, other]) await done(ann, 'moveDepartment', { departmentId });
  }
});

t.test('C7 the tree is at most 20 levels deep, counted with all that moves', async (t) => {
  const ann = (await people('digger'))[0] as Person;
  const organizationId = await found(ann);
  const chain: string[] = [];
  for (let level = 0; level < 20; level += 1)
    chain.push(await department(ann, organizationId, `level ${level}`, { parentId: chain.at(-1) }));
  t.equal(
    codeOf(await act(ann, 'createDepartment', { organizationId, name: 'deeper', parentId: chain.at(-1) })),
    'CONFLICT',
  );
  const top = await department(ann, organizationId, 'top');
  t.equal(codeOf(await act(ann, 'moveDepartment', { departmentId: chain[0], parentId: top })), 'CONFLICT');
  t.notOk((await act(ann, 'moveDepartment', { departmentId: chain[10], parentId: top })).errors);
  isTree(await treeOf(organizationId));
});

t.test('C7 a manager hands duties on, and who leaves leaves them to the manager above', async (t) => {
  const [ann, bob, cat, dan] = (await people('head', 'lead', 'heir', 'worker')) as [Person, Person, Person, Person];
  const organizationId = await found(ann, [bob, cat, dan]);
  const top = await department(ann, organizationId, 'top', { managerId: ann.id });
  const made: string[] = [];
  for (const name of ['a', 'b', 'c'])
    made.push(await department(ann, organizationId, name, { parentId: top, managerId: bob.id }));
  const leads = async () =>
    (
      await owner.query(
        "select string_agg(name, ',' order by name) as led, username from organizations.departments join identity.users on users.id = manager_id where organization_id = $1 group by username order by username",
        [organizationId],
      )
    ).rows.map(({ username, led }) => `${username}: ${led}`);
  const move = (by: Person, input: object) =>
    act(by, 'transferDuties', { organizationId, fromUserId: bob.id, ...input }, 'departments { name }');
  t.equal(codeOf(await move(dan, { toUserId: dan.id })), 'FORBIDDEN', 'others do not take them');
  const one = await move(bob, { toUserId: cat.id, departmentId: made[0] });
  t.strictSame(one.data.transferDuties.departments, [{ name: 'a' }], 'one of them, by the manager');
  t.strictSame(await leads(), ['head: top', 'heir: a', 'lead: b,c']);
  t.equal((await move(ann, { toUserId: cat.id })).data.transferDuties.departments.length, 2, 'the rest, by the owner');
  t.equal(codeOf(await move(ann, { toUserId: cat.id })), 'CONFLICT', 'there is nothing left');
  const [stranger] = (await people('no-member')) as [Person];
  t.equal(
    codeOf(await act(cat, 'transferDuties', { organizationId, fromUserId: cat.id, toUserId: stranger.id })),
    'NOT_FOUND',
  );
  t.notOk((await act(cat, 'leaveOrganization', { organizationId })).errors);
  t.strictSame(await leads(), ['head: a,b,c,top']);
});

t.test('C7 after any moves in any order, the tree is the one that the parents make', async (t) => {
  const ann = (await people('shuffler'))[0] as Person;
  const step = fc.record({
    what: fc.constantFrom('make', 'move', 'move', 'move', 'delete'),
    a: fc.nat(30),
    b: fc.nat(30),
  });
  await t.resolves(
    fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
        const client = await owner.connect();
        const as = async (call: string, values: unknown[]): Promise<string | undefined> => {
          await client.query('savepoint step');
          try {
            const { rows } = await client.query(`select * from ${call}`, values);
            return rows[0]?.id;
          } catch (error) {
            if (!/^PT4/.test((error as { code: string }).code)) throw error;
            await client.query('rollback to step');
            return undefined;
          }
        };
        try {
          await client.query('begin');
          await client.query("select set_config('plinth.user_id', $1, true)", [ann.id]);
          const place = await as("organizations.create_organization('tree')", []);
          const ids: string[] = [];
          const parents = new Map<string, string | null>();
          const isBelow = (id: string, other: string | null): boolean =>
            other !== null && (other === id || isBelow(id, parents.get(other) ?? null));
          for (const [n, { what, a, b }] of steps.entries()) {
            const id = ids[a % (ids.length || 1)] ?? null;
            const parent = [...ids, null][b % (ids.length + 1)] ?? null;
            if (what === 'make') {
              const made = await as('organizations.create_department($1, $2, null, $3)', [place, `d${n}`, parent]);
              if (made) parents.set(made, parent);
              if (made) ids.push(made);
            } else if (id && what === 'move') {
              const moved = await as('organizations.move_department($1, $2)', [id, parent]);
              assert.equal(moved !== undefined, !isBelow(id, parent), 'refused where it would be below itself');
              if (moved) parents.set(id, parent);
            } else if (id) {
              await as('organizations.delete_department($1)', [id]);
              if ([...parents.values()].includes(id)) continue;
              ids.splice(ids.indexOf(id), 1);
              parents.delete(id);
            }
          }
          const { rows } = await client.query<Row>(
            'select id, parent_id, lineage from organizations.departments where organization_id = $1',
            [place],
          );
          assert.deepEqual(new Map(rows.map((row) => [row.id, row.parent_id])).size, parents.size);
          for (const row of rows) assert.equal(row.parent_id, parents.get(row.id));
          isTree(rows);
        } finally {
          await client.query('rollback');
          client.release();
        }
      }),
      { numRuns: 60, interruptAfterTimeLimit: 30_000 },
    ),
  );
});
