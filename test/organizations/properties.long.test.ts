import assert from 'node:assert/strict';
import fc from 'fast-check';
import pg from 'pg';
import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { openOffice, systemRoles } from './acts.ts';

// What must hold after anything that people do in an organization, one after another or at once.

t.setTimeout(150_000);
const world = await openWorld(t);
const { owner } = world;
const { found, department, room, role, people } = openOffice(world);
const everyone = (await people('ann', 'bob', 'cat', 'dan', 'eve', 'fay')) as [Person, ...Person[]];
const pool = new pg.Pool({ connectionString: world.databaseUrl, max: 12 });
pool.on('error', () => {});
t.teardown(() => pool.end());

type Place = { id: string; departments: string[]; rooms: string[]; roles: string[] };

/** An organization with departments one below the other and one beside, and rooms of every kind. */
async function open(): Promise<Place> {
  const [ann] = everyone;
  const id = await found(ann, everyone.slice(1), { memberLimit: everyone.length });
  const top = await department(ann, id, 'top');
  const low = await department(ann, id, 'low', { parentId: top });
  const side = await department(ann, id, 'side');
  const rooms = [await room(ann, id)];
  for (const departmentId of [top, low])
    for (const withSubdepartments of [false, true])
      rooms.push(await room(ann, id, { departmentId, withSubdepartments }));
  const clerk = await role(ann, id, 'clerk', {
    members: ['read', 'write', 'delete'],
    departments: ['*'],
    proxies: ['*'],
  });
  return { id, departments: [top, low, side], rooms, roles: [systemRoles.admin, systemRoles.member, clerk] };
}

type Step = { what: string; by: number; who: number; at: number; to: number };
const step = fc.record({
  what: fc.constantFrom(
    'work',
    'work',
    'lead',
    'move',
    'duties',
    'leave',
    'remove',
    'join',
    'join',
    'role',
    'end',
    'proxy',
    'hand over',
    'send',
    'name',
    'read',
    'meet',
    'upkeep',
  ),
  by: fc.nat(5),
  who: fc.nat(5),
  at: fc.nat(3),
  to: fc.nat(3),
});

/** One step in a transaction of its own. @returns the SQLSTATE of a refusal. */
async function take(place: Place, { what, by, who, at, to }: Step): Promise<string | undefined> {
  const [actor, other] = [everyone[by] as Person, everyone[who] as Person];
  const [here, there] = [place.departments[at] ?? null, place.departments[to] ?? null];
  const given = place.roles[to % place.roles.length];
  const calls: Record<string, [string, ...unknown[]]> = {
    work: ['organizations.assign_department($1, $2, $3)', place.id, other.id, here],
    lead: ['organizations.assign_manager($1, $2)', here, other.id],
    move: ['organizations.move_department($1, $2)', here, there],
    duties: ['organizations.transfer_duties($1, $2, $3)', place.id, actor.id, other.id],
    leave: ['organizations.leave_organization($1)', place.id],
    remove: ['organizations.remove_from_organization($1, $2)', place.id, other.id],
    role: ['organizations.assign_role($1, $2, $3)', place.id, other.id, given],
    proxy: ['organizations.grant_proxy($1, $2, \'{"*": ["*"]}\')', place.id, other.id],
    'hand over': ['organizations.transfer_organization($1, $2)', place.id, other.id],
    send: ['chat.send_message($1, $2)', place.rooms[at], 'hello'],
    name: ['chat.send_message($1, $2)', place.rooms[at], `@${other.username} @${actor.username} @dan`],
    read: ['chat.mark_read($1)', place.rooms[at]],
    meet: ['chat.open_direct($1)', other.id],
    upkeep: ['organizations.end_due()'],
  };
  const client = await pool.connect();
  const run = ([call, ...values]: [string, ...unknown[]]) => client.query(`select * from ${call}`, values);
  try {
    await client.query('begin');
    await client.query("select set_config('plinth.user_id', $1, true)", [actor.id]);
    if (what === 'join') {
      const { rows } = await run(['organizations.invite_to_organization($1, $2)', place.id, other.id]);
      await client.query('commit');
      await client.query('begin');
      await client.query("select set_config('plinth.user_id', $1, true)", [other.id]);
      await run(['organizations.accept_organization_invitation($1)', rows[0].id]);
    } else if (what === 'end') {
      // The clock: their role ended a moment ago.
      await client.query(
        `update organizations.memberships set given_at = now() - interval '2 hours', ends_at = now() - interval '1 second'
        where organization_id = $1 and user_id = $2 and role_id <> organizations._system_role('owner')`,
        [place.id, other.id],
      );
    } else await run(calls[what] as [string, ...unknown[]]);
    await client.query('commit');
    return undefined;
  } catch (error) {
    await client.query('rollback');
    return (error as { code: string }).code;
  } finally {
    client.release();
  }
}

type Row = Record<string, string | null>;
async function rowsOf(query: string, id: string): Promise<Row[]> {
  return (await owner.query(query, [id])).rows;
}

/** Everything is read whole and put together here, without the views and columns that the database goes by. */
async function check({ id }: Place): Promise<void> {
  const [place] = await rowsOf('select owner_id, member_count from organizations.organizations where id = $1', id);
  const held = await rowsOf('select * from organizations.memberships where organization_id = $1', id);
  const departments = await rowsOf('select * from organizations.departments where organization_id = $1', id);
  const proxies = await rowsOf('select * from organizations.proxies where organization_id = $1', id);
  const rooms = await rowsOf('select * from chat.organization_rooms where organization_id = $1', id);
  const present = await rowsOf(
    'select member.* from chat.members as member join chat.organization_rooms as room using (channel_id) where organization_id = $1',
    id,
  );

  const members = new Set(held.map(({ user_id }) => user_id));
  assert.equal(Number(place?.member_count), members.size, 'members are counted');
  const owners = held.filter(({ role_id }) => role_id === systemRoles.owner).map(({ user_id }) => user_id);
  assert.deepEqual(owners, [place?.owner_id], 'there is one owner');

  const byId = new Map(departments.map((row) => [row.id, row]));
  const wayTo = (at: string | null): string[] => {
    const way: string[] = [];
    for (let one = at; one; one = byId.get(one)?.parent_id ?? null) {
      assert.ok(!way.includes(one), 'there is no cycle');
      way.unshift(one);
    }
    return way;
  };
  for (const { id: at = null, lineage, manager_id = null } of departments) {
    assert.deepEqual(lineage, wayTo(at));
    assert.ok(manager_id === null || members.has(manager_id), 'who leads is a member');
  }
  for (const { principal_id = null, agent_id = null } of proxies)
    assert.ok(members.has(principal_id) && members.has(agent_id), 'proxies are among members');

  const wanted = rooms.flatMap(({ channel_id, department_id = null, with_subdepartments }) =>
    held
      .filter(({ user_id, department_id: own = null }) => {
        const leads = department_id !== null && byId.get(department_id)?.manager_id === user_id;
        const way = with_subdepartments ? wayTo(own) : [own];
        return department_id === null || leads || way.includes(department_id);
      })
      .map(({ user_id }) => `${channel_id} ${user_id}`),
  );
  assert.deepEqual(present.map(({ channel_id, user_id }) => `${channel_id} ${user_id}`).sort(), wanted.sort());
}

const foreseen = /^(PT4\d\d)$/;

t.test(
  'C6 C7 C8 after any steps in any order, counts, owner, tree, managers, proxies and rooms fit together',
  async (t) => {
    await t.resolves(
      fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
          const place = await open();
          try {
            for (const one of steps) {
              const refused = await take(place, one);
              assert.ok(refused === undefined || foreseen.test(refused), `${one.what}: ${refused}`);
            }
            await check(place);
          } finally {
            await owner.query('delete from organizations.organizations where id = $1', [place.id]);
          }
        }),
        { numRuns: 25, interruptAfterTimeLimit: 45_000 },
      ),
    );
  },
);

t.test('C6 C7 C8 so they do after any steps at once', async (t) => {
  let clashes = 0;
  let done = 0;
  await t.resolves(
    fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 12, maxLength: 36 }), async (steps) => {
        const place = await open();
        try {
          const answers = await Promise.all(steps.map((one) => take(place, one)));
          for (const refused of answers) {
            assert.ok(refused === undefined || foreseen.test(refused) || refused === '40P01', refused);
            clashes += Number(refused === '40P01');
            done += Number(refused === undefined);
          }
          await check(place);
        } finally {
          await owner.query('delete from organizations.organizations where id = $1', [place.id]);
        }
      }),
      { numRuns: 25, interruptAfterTimeLimit: 45_000 },
    ),
  );
  t.ok(done > 50, `${done} were done`);
  t.equal(clashes, 0, 'and none met another in a deadlock');
});
