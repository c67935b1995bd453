import { randomBytes } from 'node:crypto';
import {
  buildClientSchema,
  type GraphQLInputObjectType,
  type GraphQLInputType,
  getIntrospectionQuery,
  getNamedType,
  isLeafType,
} from 'graphql';
import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { openOffice, systemRoles } from './acts.ts';

// Every mutation of organizations, by the owner of one, with one argument that nobody should give and the others right: it is done, or
// an error of a kind that clients know says why, and then nothing has changed.

t.setTimeout(180_000);
const world = await openWorld(t);
const { ask, owner } = world;
const { act, done, found, join, role, department, people } = openOffice(world);
const [ann, bob, eve] = (await people('ann', 'bob', 'eve')) as [Person, Person, Person];
const organizationId = await found(ann, [bob]);
const theirs = await found(eve);
const right: Record<string, unknown> = {
  organizationId,
  userId: bob.id,
  agentId: bob.id,
  managerId: bob.id,
  fromUserId: ann.id,
  toUserId: bob.id,
  roleId: await role(ann, organizationId, 'clerk', { documents: ['read'] }),
  departmentId: await department(ann, organizationId, 'Works', { managerId: ann.id }),
  positionId: (await done(ann, 'createPosition', { organizationId, title: 'Smith' }, 'position { id }')).position.id,
  permissions: { documents: ['read'] },
};
const foreign = [
  theirs,
  await role(eve, theirs, 'clerk', {}),
  await department(eve, theirs, 'Works'),
  (await done(eve, 'grantProxy', { organizationId: await shared(), agentId: bob.id, permissions: {} }, 'proxy { id }'))
    .proxy.id,
];
/** A second organization of Eve's, with Bob in it. */
async function shared(): Promise<string> {
  return found(eve, [bob]);
}

const huge = randomBytes(60_000).toString('hex');
const deep = JSON.parse(`${'['.repeat(400)}${']'.repeat(400)}`);
const hostile: Record<string, unknown[]> = {
  UUID: [
    ...foreign,
    eve.id,
    ...Object.values(systemRoles),
    '00000000-0000-0000-0000-000000000000',
    'x',
    '',
    7,
    {},
    null,
  ],
  String: ['', ' ', huge, '\u0000', '\ud800', "'; drop table organizations.roles; --", '\u202e', 7, {}, null],
  Int: [0, -1, 2147483647, 2147483648, 1.5, 'x', {}, null],
  Boolean: ['true', 0, null],
  DateTime: [
    'infinity',
    '-infinity',
    '294276-12-31T23:59:59Z',
    '0001-01-01T00:00:00Z',
    '2026-13-01T00:00:00Z',
    'x',
    7,
    null,
  ],
  JSON: [
    null,
    7,
    'x',
    [],
    deep,
    { a: 7 },
    { a: [[]] },
    { a: [''] },
    { '': ['x'] },
    { a: [huge] },
    { [huge]: ['a'] },
    { a: ['\u0000'] },
  ],
};

const schema = buildClientSchema((await ask(getIntrospectionQuery())).data);
const fields = Object.values(schema.getMutationType()?.getFields() ?? {}).filter(({ name }) =>
  /Organization|Department|Position|Role|Proxy|Duties|assignManager/.test(name),
);

async function picture(): Promise<string> {
  const names = ['organizations', 'roles', 'departments', 'positions', 'memberships', 'proxies', 'invitations'];
  const parts = [...names.map((name) => `organizations.${name}`), 'chat.organization_rooms', 'chat.members'];
  const { rows } = await owner.query(
    `select md5(concat(${parts.map((name) => `(select string_agg(part::text, ',' order by part::text) from ${name} as part)`).join(', ')})) as picture`,
  );
  return rows[0].picture;
}

t.test('C6 C7 C8 what nobody should give is refused with a reason, and changes nothing', async (t) => {
  t.ok(fields.length >= 25, `${fields.length} mutations`);
  const bad: unknown[] = [];
  let refused = 0;
  for (const field of fields) {
    const input = getNamedType(field.args[0]?.type as GraphQLInputType) as GraphQLInputObjectType;
    const places = Object.values(input.getFields());
    const selection = isLeafType(getNamedType(field.type)) ? '' : '__typename';
    for (const place of places) {
      const others = places.filter((each) => each !== place && String(each.type).endsWith('!'));
      for (const value of hostile[getNamedType(place.type).name] ?? []) {
        const rest = Object.fromEntries(others.map(({ name }) => [name, right[name] ?? `${field.name} ${place.name}`]));
        const before = await picture();
        const { errors } = await act(ann, field.name, { ...rest, [place.name]: value }, selection);
        if (!errors) continue;
        refused += 1;
        const [{ message = '', extensions } = {}] = errors;
        const isTold =
          extensions?.code &&
          extensions.code !== 'INTERNAL' &&
          message.length <= 500 &&
          !/relation|syntax/.test(message);
        const isSame = before === (await picture());
        if (!isTold || !isSame)
          bad.push({
            field: field.name,
            place: place.name,
            value: String(JSON.stringify(value)).slice(0, 60),
            errors,
            isSame,
          });
      }
    }
  }
  t.strictSame(bad, []);
  t.ok(refused > 300, `${refused} were refused`);
  t.strictSame(
    world.logged.filter(({ level }) => Number(level) >= 50),
    [],
    'none of it was unforeseen',
  );
});

t.test('C6 what others own was not touched by it, and all still fits together', async (t) => {
  const { rows } = await owner.query(
    `select name, member_count, (select count(*)::integer from organizations.memberships where organization_id = id) as counted
    from organizations.organizations where owner_id = $1 order by id`,
    [eve.id],
  );
  t.strictSame(rows, [
    { name: 'Works', member_count: 1, counted: 1 },
    { name: 'Works', member_count: 2, counted: 2 },
  ]);
  const { rows: broken } = await owner.query(
    `select place.id from organizations.organizations as place
    where place.member_count <> (select count(*) from organizations.memberships where organization_id = place.id)
      or not exists (select from organizations.memberships where organization_id = place.id and user_id = place.owner_id
        and role_id = organizations._system_role('owner'))`,
  );
  t.strictSame(broken, [], 'members are counted, and the owner is the owner');
});

t.test('C6 two of everything at once: each counts once, and nothing is half done', async (t) => {
  const [dan, kim, lee] = (await people('dan', 'kim', 'lee')) as [Person, Person, Person];
  const id = await found(dan, [kim, lee]);
  const one = await department(dan, id, 'one');
  const clerk = await role(dan, id, 'clerk', { documents: ['read'] });
  const proxy = await done(dan, 'grantProxy', { organizationId: id, agentId: kim.id, permissions: {} }, 'proxy { id }');
  await join(dan, id, eve, clerk);
  const pairs: [string, object, Person?][] = [
    ['createRole', { organizationId: id, name: 'same', permissions: {} }],
    ['createDepartment', { organizationId: id, name: 'same', parentId: one }],
    ['createPosition', { organizationId: id, title: 'same' }],
    ['assignRole', { organizationId: id, userId: kim.id, roleId: systemRoles.admin }],
    ['assignDepartment', { organizationId: id, userId: kim.id, departmentId: one }],
    ['revokeProxy', { proxyId: proxy.proxy.id }],
    ['removeFromOrganization', { organizationId: id, userId: eve.id }],
    ['deleteRole', { roleId: clerk }],
    ['leaveOrganization', { organizationId: id }, lee],
    ['closeOrganization', { organizationId: id }],
  ];
  const once = ['CONFLICT', 'NOT_FOUND'];
  for (const [mutation, input, by = dan] of pairs) {
    const codes = (await Promise.all([act(by, mutation, input), act(by, mutation, input)])).map(
      ({ errors }) => errors?.[0]?.extensions?.code,
    );
    t.ok(
      codes.includes(undefined) && codes.every((code) => code === undefined || once.includes(code)),
      `${mutation}: ${codes}`,
    );
  }
  const { rows } = await owner.query(
    'select member_count, (select count(*)::integer from organizations.memberships where organization_id = id) as counted from organizations.organizations where id = $1',
    [id],
  );
  t.strictSame(rows[0], { member_count: 2, counted: 2 });
});
