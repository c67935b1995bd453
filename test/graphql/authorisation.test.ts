import t from 'tap';
import { roles, sections } from '../authorisation/matrix.ts';
import type { Section } from '../authorisation/section.ts';
import { openWorld } from '../world.ts';

const { owner } = await openWorld(t);
const matrix = Object.values(sections);
const tables = Object.assign({}, ...matrix.map((section) => section.tables)) as Section['tables'];
const functions = Object.assign({}, ...matrix.map((section) => section.functions)) as Section['functions'];
const privateFunctions = matrix.flatMap((section) => section.privateFunctions);
const everyRole = Object.keys(roles);
const apiRoles = everyRole.filter((role) => !['public', 'plinth_server'].includes(role));

/** Objects of extensions are theirs. */
const notOfAnExtension = (catalog: string, oid: string): string =>
  `not exists (select from pg_depend where classid = '${catalog}'::regclass and objid = ${oid} and deptype = 'e')`;
const ours = "namespace.nspname !~ '^pg_' and namespace.nspname <> 'information_schema'";

/** Those who may, by their own grant or one that they inherit, in the order of the matrix. */
function holders(granted: string[]): string[] {
  return everyRole.filter((role) => granted.includes(role) || roles[role]?.some((other) => granted.includes(other)));
}

async function rows<Row>(sql: string, values: unknown[] = []): Promise<Row[]> {
  return (await owner.query(sql, values)).rows;
}

t.test('every schema is named and open to those whom the matrix says', async (t) => {
  const found = await rows<{ name: string; users: string[]; makers: string[] }>(
    `select namespace.nspname as name,
      array(select role from unnest($1::text[]) as role where has_schema_privilege(role, namespace.oid, 'usage')) as users,
      array(select role from unnest($1::text[]) as role where has_schema_privilege(role, namespace.oid, 'create')) as makers
    from pg_namespace as namespace where ${ours}`,
    [everyRole],
  );
  t.strictSame(
    found.map(({ name }) => name).sort(),
    Object.keys(sections).sort(),
    'the schemas are those of the matrix',
  );
  for (const { name, users, makers } of found) {
    t.strictSame(
      users,
      everyRole.filter((role) => sections[name]?.users.includes(role)),
      `usage of ${name}`,
    );
    t.strictSame(makers, [], `nobody makes anything in ${name}`);
  }
});

t.test(
  'every column of every table and view is read by those whom the matrix says, and written by nobody',
  async (t) => {
    const found = await rows<{
      name: string;
      partition: boolean;
      columns: string[];
      secured: boolean;
      rights: string[];
    }>(
      `select namespace.nspname || '.' || class.relname as name, class.relispartition as partition,
      class.relrowsecurity or class.relkind = 'v' as secured,
      array(select attname::text from pg_attribute where attrelid = class.oid and attnum > 0 and not attisdropped) as columns,
      array(
        select role || ' ' || privilege || ' ' || attname
        from unnest($1::text[]) with ordinality as role (role, place), pg_attribute, unnest(array['select', 'insert', 'update', 'references']) as privilege
        where attrelid = class.oid and attnum > 0 and not attisdropped and has_column_privilege(role, class.oid, attnum, privilege)
        order by role.place, attnum
      ) || array(
        select role || ' ' || privilege
        from unnest($1::text[]) as role, unnest(array['delete', 'truncate', 'trigger']) as privilege
        where has_table_privilege(role, class.oid, privilege)
      ) as rights
    from pg_class as class join pg_namespace as namespace on namespace.oid = class.relnamespace
    where class.relkind in ('r', 'p', 'v', 'm', 'f') and ${ours} and ${notOfAnExtension('pg_class', 'class.oid')}`,
      [everyRole],
    );
    const whole = found.filter(({ partition }) => !partition);
    t.strictSame(
      whole.map(({ name }) => name).sort(),
      Object.keys(tables).sort(),
      'the tables are those of the matrix',
    );
    for (const { name, rights, secured } of whole) {
      const { readers = [], columns = '' } = tables[name] ?? {};
      const expected = holders(readers).flatMap((role) =>
        columns.split(' ').map((column) => `${role} select ${column}`),
      );
      t.strictSame(rights, expected, name);
      if (rights.some((right) => apiRoles.some((role) => right.startsWith(`${role} `))))
        t.ok(secured, `${name} has row level security`);
    }
    for (const { name, rights, secured } of found.filter(({ partition }) => partition)) {
      t.strictSame(rights, [], `${name}, a partition, is reached through its table only`);
      t.ok(secured, `${name} has row level security`);
    }
  },
);

t.test('no sequence is anybody’s', async (t) => {
  const found = await rows(
    `select class.oid::regclass::text, role from pg_class as class join pg_namespace as namespace on namespace.oid = class.relnamespace,
      unnest($1::text[]) as role
    where class.relkind = 'S' and ${ours} and has_sequence_privilege(role, class.oid, 'usage, select, update')`,
    [everyRole],
  );
  t.strictSame(found, []);
});

t.test('every function is called by those whom the matrix says', async (t) => {
  const found = await rows<{ name: string; callers: string[] }>(
    `select namespace.nspname || '.' || routine.proname || '(' || coalesce((
        select string_agg(format_type(type, null), ',' order by place)
        from unnest(routine.proargtypes) with ordinality as argument (type, place)
      ), '') || ')' as name,
      array(select role from unnest($1::text[]) as role where has_function_privilege(role, routine.oid, 'execute')) as callers
    from pg_proc as routine join pg_namespace as namespace on namespace.oid = routine.pronamespace
    where ${ours} and ${notOfAnExtension('pg_proc', 'routine.oid')}`,
    [everyRole],
  );
  const named = [...Object.keys(functions), ...privateFunctions].sort();
  t.strictSame(found.map(({ name }) => name).sort(), named, 'the functions are those of the matrix');
  for (const { name, callers } of found) t.strictSame(callers, holders(functions[name] ?? []), name);
});

t.test('a function with its owner’s rights belongs to plinth_owner and has a search_path of its own', async (t) => {
  const found = await rows<{ name: string; owner: string; options: string[] | null; open: boolean }>(
    `select routine.oid::regprocedure::text as name, pg_get_userbyid(routine.proowner) as owner, routine.proconfig as options,
      has_function_privilege('public', routine.oid, 'execute') as open
    from pg_proc as routine join pg_namespace as namespace on namespace.oid = routine.pronamespace
    where routine.prosecdef and ${ours}`,
  );
  t.ok(found.length > 10, 'there are such functions');
  for (const { name, owner, options, open } of found) {
    t.equal(owner, 'plinth_owner', `${name} belongs to plinth_owner`);
    t.ok(options?.includes('search_path=""'), `${name} has an empty search_path`);
    t.notOk(open, `${name} is closed to PUBLIC`);
  }
});

t.test('a view has the rights of plinth_owner, who is held by no other role', async (t) => {
  const views = await rows<{ owner: string }>(
    `select distinct pg_get_userbyid(relowner) as owner
    from pg_class as class join pg_namespace as namespace on namespace.oid = class.relnamespace
    where relkind in ('v', 'm') and ${ours} and ${notOfAnExtension('pg_class', 'class.oid')}`,
  );
  t.strictSame(views, [{ owner: 'plinth_owner' }]);
  const held = await rows(
    `select granted.rolname as granted, holder.rolname as holder
    from pg_auth_members as membership
    join pg_roles as granted on granted.oid = membership.roleid join pg_roles as holder on holder.oid = membership.member
    where granted.rolname = any ($1) and holder.rolname = any ($1) order by 1, 2`,
    [[...everyRole, 'plinth_owner']],
  );
  t.strictSame(held, [
    { granted: 'anonymous', holder: 'member' },
    { granted: 'anonymous', holder: 'plinth_server' },
    { granted: 'member', holder: 'operator' },
    { granted: 'member', holder: 'plinth_server' },
    { granted: 'operator', holder: 'plinth_server' },
    { granted: 'service', holder: 'plinth_server' },
  ]);
});

t.test('no role of ours passes over row level security, and only plinth_server logs in', async (t) => {
  const found = await rows(
    `select rolname as name, rolcanlogin as logs_in
    from pg_roles where rolname = any ($1) and not (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication)
    order by 1`,
    [[...everyRole, 'plinth_owner']],
  );
  t.strictSame(
    found,
    ['anonymous', 'member', 'operator', 'plinth_owner', 'plinth_server', 'service'].map((name) => ({
      name,
      logs_in: name === 'plinth_server',
    })),
  );
});

t.test('a policy is for API roles and for reading', async (t) => {
  const found = await rows<{ name: string; on: string; roles: string[]; command: string }>(
    `select policyname as name, schemaname || '.' || tablename as on, roles::text[] as roles, cmd as command
    from pg_policies where schemaname !~ '^pg_'`,
  );
  t.ok(found.length > 0);
  for (const policy of found) {
    // The server itself reads one table, to tell errors; everything else it reads as an API role.
    const readers = policy.on === 'public.error_codes' ? ['plinth_server'] : apiRoles;
    t.ok(
      policy.roles.every((role) => readers.includes(role)),
      `${policy.name} is for ${readers}`,
    );
    t.equal(policy.command, 'SELECT', policy.name);
  }
});

t.test('all that the API shows is described', async (t) => {
  const readable = Object.entries(tables).filter(
    ([name, { readers }]) => readers.some((role) => apiRoles.includes(role)) && !/\._/.test(name),
  );
  const undescribed = await rows(
    `select class.oid::regclass::text || coalesce('.' || attribute.attname, '') as name
    from pg_class as class
    left join pg_attribute as attribute on attribute.attrelid = class.oid and attribute.attnum > 0 and not attribute.attisdropped
    where (class.oid = any ($1::text[]::regclass[]) or class.relkind = 'c' and class.relnamespace in (
        select oid from pg_namespace as namespace where ${ours}))
      and not (class.relname = 'code_request' and attribute.attname = 'delivery')
      and (col_description(class.oid, attribute.attnum) is null
        or coalesce(obj_description(class.oid, 'pg_class'), obj_description(class.reltype, 'pg_type')) is null)
    union all
    select routine::text from unnest($2::text[]::regprocedure[]) as routine where obj_description(routine, 'pg_proc') is null
    union all
    select type.oid::regtype::text from pg_type as type join pg_namespace as namespace on namespace.oid = type.typnamespace
    where type.typtype in ('e', 'd') and ${ours} and obj_description(type.oid, 'pg_type') is null`,
    [readable.map(([name]) => name), Object.keys(functions).filter((name) => !/\._/.test(name))],
  );
  t.strictSame(undescribed, []);
});

t.test('statements of the server are not compiled: what is soon read would take a second', async (t) => {
  const found = await rows('select setconfig from pg_db_role_setting where setrole = $1::regrole', ['plinth_server']);
  t.match(found, [{ setconfig: ['jit=off'] }]);
});
