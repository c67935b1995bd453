import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { codeOf, openOffice, systemRoles } from './acts.ts';

t.setTimeout(120_000);
const world = await openWorld(t);
const { ask, owner } = world;
const { act, done, found, join, role, people } = openOffice(world);

const may = async (by: Person, organizationId: string, action: string, resource: string, who?: Person) => {
  const { data, errors } = await ask(
    `query($o: UUID!, $a: String!, $r: String!, $u: UUID) { permission(organizationId: $o, action: $a, resource: $r, userId: $u) {
      isAllowed through role { name } proxy { principal { username } } } }`,
    { o: organizationId, a: action, r: resource, u: who?.id },
    by.token,
  );
  return errors ? { code: errors[0]?.extensions?.code } : data.permission;
};
const no = { isAllowed: false, through: null, role: null, proxy: null };
const soon = (seconds: number): string => new Date(Date.now() + seconds * 1000).toISOString();

t.test('C6 one function tells whether someone may do something now, and through what', async (t) => {
  const [ann, bob, cat, eve] = (await people('ann', 'bob', 'cat', 'eve')) as [Person, Person, Person, Person];
  const id = await found(ann, [bob]);
  const writers = await role(ann, id, 'writer', { documents: ['read', 'write'], '*': ['list'] });
  await join(ann, id, cat, writers);
  t.strictSame(await may(ann, id, 'burn', 'documents'), {
    isAllowed: true,
    through: 'SYSTEM_ROLE',
    role: { name: 'owner' },
    proxy: null,
  });
  t.strictSame(await may(bob, id, 'read', 'documents'), {
    isAllowed: true,
    through: 'SYSTEM_ROLE',
    role: { name: 'member' },
    proxy: null,
  });
  t.strictSame(await may(bob, id, 'write', 'documents'), no);
  t.strictSame(await may(cat, id, 'write', 'documents'), {
    isAllowed: true,
    through: 'ROLE',
    role: { name: 'writer' },
    proxy: null,
  });
  t.strictSame(await may(cat, id, 'list', 'anything'), {
    isAllowed: true,
    through: 'ROLE',
    role: { name: 'writer' },
    proxy: null,
  });
  t.strictSame(await may(cat, id, 'read', 'members'), no, 'a role of its own may allow less than the member’s');
  t.strictSame(await may(cat, id, '*', 'documents'), no, 'asked for all, it is all');
  t.strictSame(await may(cat, id, 'list', '*'), {
    isAllowed: true,
    through: 'ROLE',
    role: { name: 'writer' },
    proxy: null,
  });
  t.strictSame(await may(eve, id, 'read', 'documents'), no, 'a stranger may nothing');
  t.strictSame(await may(ann, id, 'write', 'documents', cat), {
    isAllowed: true,
    through: 'ROLE',
    role: { name: 'writer' },
    proxy: null,
  });
  t.strictSame(await may(bob, id, 'write', 'documents', cat), { code: 'FORBIDDEN' }, 'about others only some may ask');
  t.strictSame(await may(eve, id, 'write', 'documents', cat), { code: 'FORBIDDEN' });
});

t.test('C6 policies go by it: who may not read something there does not see it', async (t) => {
  const [ann, bob] = (await people('shower', 'seer')) as [Person, Person];
  const id = await found(ann);
  await done(ann, 'createDepartment', { organizationId: id, name: 'Yard' });
  await done(ann, 'createPosition', { organizationId: id, title: 'Smith' });
  const narrow = await role(ann, id, 'narrow', { departments: ['read'] });
  await join(ann, id, bob, narrow);
  const seen = async () => {
    const { data } = await ask(
      `query($id: UUID!) { organization(id: $id) { name departments { totalCount } positions { totalCount }
        memberships { totalCount } roles { totalCount } invitations { totalCount } proxies { totalCount } } }`,
      { id },
      bob.token,
    );
    return Object.fromEntries(
      Object.entries(data.organization ?? {}).map(([name, value]) => [
        name,
        (value as { totalCount?: number }).totalCount ?? value,
      ]),
    );
  };
  const bare = { name: 'Works', departments: 1, positions: 0, memberships: 1, roles: 1, invitations: 0, proxies: 0 };
  t.strictSame(await seen(), bare, 'departments, and what is their own');
  await done(ann, 'updateRole', { roleId: narrow, permissions: { positions: ['*'], members: ['read'] } });
  t.strictSame(await seen(), { ...bare, departments: 0, positions: 1, memberships: 2 });
  await owner.query(
    "update organizations.memberships set given_at = now() - interval '2 hours', ends_at = now() - interval '1 second' where user_id = $1",
    [bob.id],
  );
  t.strictSame(await seen(), {}, 'and nothing from the moment when the role ends');
});

t.test('C6 an operator sees no more of organizations than a member, a stranger and a program nothing', async (t) => {
  const [ann] = (await people('watched')) as [Person];
  const boss = await world.person('overseer', { operator: true });
  const id = await found(ann);
  const asked =
    'query($id: UUID!) { organization(id: $id) { name } organizations { totalCount } memberships { totalCount } permission(organizationId: $id, action: "read", resource: "x") { isAllowed } }';
  t.strictSame((await ask(asked, { id }, boss.token)).data, {
    organization: null,
    organizations: { totalCount: 0 },
    memberships: { totalCount: 0 },
    permission: { isAllowed: false },
  });
  t.match((await ask(asked, { id }, ann.token)).data, {
    organization: { name: 'Works' },
    organizations: { totalCount: 1 },
  });
  for (const token of [undefined, await world.service()]) {
    const { errors } = await ask(asked, { id }, token);
    t.equal(errors?.[0]?.extensions?.code, 'FORBIDDEN');
    t.equal(
      codeOf(await act(token === undefined ? undefined : { ...ann, token }, 'createOrganization', { name: 'x' })),
      'FORBIDDEN',
    );
  }
});

t.test('C8 a proxy acts for another: in its window, as far as it names and the other may', async (t) => {
  const [ann, bob, cat] = (await people('principal', 'agent', 'further')) as [Person, Person, Person];
  const id = await found(ann, [bob, cat]);
  await join(ann, id, (await people('an-admin'))[0] as Person, systemRoles.admin);
  const grant = (by: Person, input: object) =>
    act(by, 'grantProxy', { organizationId: id, ...input }, 'proxy { id principal { username } agent { username } }');
  const granted = await grant(ann, { agentId: bob.id, permissions: { documents: ['write'] }, endsAt: soon(3600) });
  const through = {
    isAllowed: true,
    through: 'PROXY',
    role: { name: 'owner' },
    proxy: { principal: { username: 'principal' } },
  };
  t.strictSame(await may(bob, id, 'write', 'documents'), through);
  t.strictSame(await may(bob, id, 'delete', 'documents'), no, 'not more than it names');
  t.equal((await may(bob, id, 'read', 'documents')).through, 'SYSTEM_ROLE', 'a role of their own comes first');
  await grant(bob, { agentId: cat.id, permissions: { '*': ['*'] } });
  t.strictSame(await may(cat, id, 'write', 'documents'), no, 'it is not handed on, nor more than the other’s role');
  t.equal((await may(cat, id, 'read', 'documents')).through, 'SYSTEM_ROLE');

  await grant(ann, { agentId: cat.id, permissions: { later: ['do'] }, startsAt: soon(3600) });
  t.strictSame(await may(cat, id, 'do', 'later'), no, 'not before its window');
  await owner.query(
    "update organizations.proxies set starts_at = now() - interval '2 hours', ends_at = now() - interval '1 second' where agent_id = $1 and permissions ? 'later'",
    [cat.id],
  );
  t.strictSame(await may(cat, id, 'do', 'later'), no, 'nor after it');

  const proxyId = granted.data.grantProxy.proxy.id;
  const seen = async (by: Person) =>
    (await ask('query($id: UUID!) { proxy(id: $id) { agent { username } } }', { id: proxyId }, by.token)).data.proxy;
  t.strictSame(await seen(bob), { agent: { username: 'agent' } });
  t.equal(codeOf(await act(cat, 'revokeProxy', { proxyId })), 'FORBIDDEN', 'others see it, and do not end it');
  t.notOk((await act(bob, 'revokeProxy', { proxyId })).errors, 'the agent may give it back');
  t.strictSame(await may(bob, id, 'write', 'documents'), no);
  t.notOk((await act(ann, 'revokeProxy', { proxyId })).errors, 'revoked twice, it is revoked');
});

t.test('C8 a proxy gives work to do, and no power to keep', async (t) => {
  const [ann, bob, cat] = (await people('away', 'standin', 'friend')) as [Person, Person, Person];
  const id = await found(ann, [bob, cat]);
  await done(ann, 'grantProxy', {
    organizationId: id,
    agentId: bob.id,
    permissions: { '*': ['*'] },
    endsAt: soon(3600),
  });
  t.notOk((await act(bob, 'createDepartment', { organizationId: id, name: 'By proxy' })).errors, 'mutations go by it');
  for (const [mutation, input] of [
    ['createRole', { organizationId: id, name: 'mine', permissions: { '*': ['*'] } }],
    ['assignRole', { organizationId: id, userId: cat.id, roleId: systemRoles.admin }],
    ['grantProxy', { organizationId: id, agentId: cat.id, principalId: ann.id, permissions: { '*': ['*'] } }],
    ['closeOrganization', { organizationId: id }],
    ['transferOrganization', { organizationId: id, userId: bob.id }],
  ] as const)
    t.equal(codeOf(await act(bob, mutation, input)), 'FORBIDDEN', mutation);
});

t.test('C8 who may set up a proxy for whom, and what is refused', async (t) => {
  const [ann, bob, cat, eve, adm] = (await people('p-owner', 'p-one', 'p-two', 'p-out', 'p-admin')) as [
    Person,
    Person,
    Person,
    Person,
    Person,
  ];
  const id = await found(ann, [bob, cat]);
  await join(ann, id, adm, systemRoles.admin);
  const grant = async (by: Person, input: object) =>
    codeOf(await act(by, 'grantProxy', { organizationId: id, agentId: cat.id, permissions: { a: ['b'] }, ...input }));
  t.equal(await grant(bob, {}), undefined, 'for themselves anyone');
  t.equal(await grant(bob, { principalId: ann.id }), 'FORBIDDEN');
  const read = { a: ['read'] };
  t.equal(await grant(adm, { principalId: bob.id, permissions: read }), undefined, 'for another an admin');
  t.equal(
    await grant(adm, { principalId: ann.id, permissions: read }),
    'FORBIDDEN',
    'but not for who may more than they',
  );
  t.equal(await grant(adm, { principalId: eve.id, permissions: read }), 'NOT_FOUND');
  t.equal(await grant(eve, {}), 'NOT_FOUND', 'a stranger knows nothing of it');
  t.equal(await grant(bob, { agentId: eve.id }), 'NOT_FOUND');
  t.equal(await grant(bob, { agentId: bob.id }), 'BAD_USER_INPUT');
  t.equal(await grant(bob, { permissions: ['all'] }), 'BAD_USER_INPUT');
  t.equal(await grant(bob, { endsAt: soon(-5) }), 'BAD_USER_INPUT');
  t.equal(await grant(bob, { startsAt: soon(60), endsAt: soon(30) }), 'BAD_USER_INPUT');
  const many = { a: Array.from({ length: 4000 }, (_, n) => `action_${n}`) };
  t.equal(await grant(bob, { permissions: many }), 'BAD_USER_INPUT', 'more than 16 kB');
  await owner.query(
    "insert into organizations.proxies (organization_id, principal_id, agent_id, permissions) select $1, $2, $3, '{}' from generate_series(1, 99)",
    [id, bob.id, ann.id],
  );
  t.equal(await grant(bob, {}), 'CONFLICT', 'there is a bound');
  t.notOk((await act(cat, 'leaveOrganization', { organizationId: id })).errors);
  const { rows } = await owner.query(
    'select count(*)::integer as n from organizations.proxies where organization_id = $1 and $2 in (principal_id, agent_id)',
    [id, cat.id],
  );
  t.equal(rows[0].n, 0, 'who leaves is nobody’s proxy');
});

t.test('C6 C8 the answer is what a plain reading of roles, proxies and clocks gives', async (t) => {
  const names = ['reports', 'docs', '*'];
  const acts = ['read', 'write', '*'];
  const permissions = fc.dictionary(
    fc.constantFrom(...names),
    fc.uniqueArray(fc.constantFrom(...acts), { maxLength: 3 }),
    {
      maxKeys: 3,
    },
  );
  /** Hours from now: never the moment itself. */
  const hours = fc.constantFrom(-3, -2, -1, 1, 2, 3);
  const scene = fc.record({
    roles: fc.array(permissions, { minLength: 2, maxLength: 4 }),
    held: fc.array(fc.option(fc.record({ role: fc.nat(6), ends: fc.option(hours) })), { minLength: 4, maxLength: 4 }),
    proxies: fc.array(
      fc.record({
        principal: fc.nat(3),
        agent: fc.nat(3),
        permissions,
        starts: hours,
        ends: fc.option(hours),
        revoked: fc.boolean(),
      }),
      { maxLength: 6 },
    ),
    closed: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  });
  const users = await people('q-0', 'q-1', 'q-2', 'q-3');
  const system = {
    [systemRoles.owner]: { '*': ['*'] },
    [systemRoles.admin]: { '*': ['read', 'write', 'delete'] },
    [systemRoles.member]: { '*': ['read'] },
  };
  type Permissions = Record<string, string[]>;
  const allows = (given: Permissions, action: string, resource: string): boolean =>
    [resource, '*'].some(
      (each) => Object.hasOwn(given, each) && [action, '*'].some((one) => given[each]?.includes(one)),
    );

  let asked = 0;
  let allowed = 0;
  await t.resolves(
    fc.assert(
      fc.asyncProperty(scene, async ({ roles, held, proxies, closed }) => {
        const client = await owner.connect();
        try {
          await client.query('begin');
          const { rows: made } = await client.query(
            "insert into organizations.organizations (name, closed_at) values ('x', case when $1 then now() end) returning id",
            [closed],
          );
          const id = made[0].id;
          // Owner comes once, so only admin and member of the system roles are dealt out here.
          const all: [string, Permissions][] = Object.entries(system).slice(1);
          for (const [n, given] of roles.entries()) {
            const { rows } = await client.query(
              'insert into organizations.roles (organization_id, name, permissions) values ($1, $2, $3) returning id',
              [id, `r${n}`, given],
            );
            all.push([rows[0].id, given]);
          }
          const now = new Map<number, [string, Permissions]>();
          for (const [n, one] of held.entries()) {
            const dealt = one && (all[one.role % all.length] as [string, Permissions]);
            if (!one || !dealt) continue;
            await client.query(
              "insert into organizations.memberships (organization_id, user_id, role_id, given_at, ends_at) values ($1, $2, $3, now() - interval '9 hours', now() + $4 * interval '1 hour')",
              [id, users[n]?.id, dealt[0], one.ends],
            );
            if ((one.ends ?? 1) > 0 && !closed) now.set(n, dealt);
          }
          const acting: { agent: number; own: Permissions; permissions: Permissions; id: string }[] = [];
          for (const { principal, agent, permissions: given, starts, ends, revoked } of proxies) {
            if (principal === agent || (ends !== null && ends <= starts) || !held[principal] || !held[agent]) continue;
            const { rows } = await client.query(
              "insert into organizations.proxies (organization_id, principal_id, agent_id, permissions, starts_at, ends_at, revoked_at) values ($1, $2, $3, $4, now() + $5 * interval '1 hour', now() + $6 * interval '1 hour', case when $7 then now() end) returning id",
              [id, users[principal]?.id, users[agent]?.id, given, starts, ends, revoked],
            );
            const role = now.get(principal);
            if (role && now.has(agent) && starts < 0 && (ends === null || ends > 0) && !revoked)
              acting.push({ agent, own: role[1], permissions: given, id: rows[0].id });
          }
          for (const [n, user] of users.entries()) {
            await client.query("select set_config('plinth.user_id', $1, true)", [user.id]);
            const { rows } = await client.query(
              `select action, resource, (answer).through, ((answer).proxy).id as proxy_id, (answer).is_allowed,
                organizations.can($1, action, resource) as can,
                $1 in (select organizations._where_may(action, resource)) as somewhere
              from unnest($2::text[]) as action, unnest($3::text[]) as resource,
                lateral (select organizations.permission($1, action, resource) as answer offset 0) as told`,
              [id, acts, names],
            );
            for (const { action, resource, ...answer } of rows) {
              const role = now.get(n);
              const own = role && allows(role[1], action, resource);
              const other = acting.find(
                (each) =>
                  each.agent === n && allows(each.permissions, action, resource) && allows(each.own, action, resource),
              );
              const expected = own
                ? { through: role[0] in system ? 'system_role' : 'role', proxy_id: null }
                : { through: other ? 'proxy' : null, proxy_id: other?.id ?? null };
              const is = expected.through !== null;
              assert.deepEqual(answer, { ...expected, is_allowed: is, can: is, somewhere: is });
              asked += 1;
              allowed += Number(is);
            }
          }
        } finally {
          await client.query('rollback');
          client.release();
        }
      }),
      { numRuns: 60, interruptAfterTimeLimit: 45_000 },
    ),
  );
  t.ok(allowed > asked / 20 && allowed < asked, `${allowed} of ${asked} were allowed: both answers were met`);
});
