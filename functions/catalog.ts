import type pg from 'pg';
import { openViewsQuery } from './open-views.ts';

/** The roles that a request may run as; the catalog is read for what they were granted. */
const apiRoles = ['anonymous', 'member', 'operator', 'service'] as const;
export type ApiRole = (typeof apiRoles)[number];

/** A type by its oid. `sqlName` is quoted and qualified, ready to stand in a cast. */
export type PgType = {
  oid: string;
  schema: string;
  name: string;
  sqlName: string;
  kind: 'base' | 'array' | 'enum' | 'domain' | 'composite' | 'pseudo' | 'range';
  /** Of an array its elements, of a domain what it stands on. */
  of: string | null;
  notNull: boolean;
  labels: string[];
  /** Of a composite type; those of a table stand with the table. */
  attributes: Column[];
  comment: string | null;
};

export type Column = {
  name: string;
  type: string;
  notNull: boolean;
  comment: string | null;
  /** Which API roles may read it. */
  roles: ApiRole[];
};

export type ForeignKey = {
  name: string;
  columns: string[];
  table: string;
  foreignColumns: string[];
  comment: string | null;
};

export type Table = {
  oid: string;
  rowType: string;
  schema: string;
  name: string;
  comment: string | null;
  columns: Column[];
  primaryKey: string[];
  /** Column lists that are unique, the primary key included; partial and expression indexes left out. */
  uniques: string[][];
  /** Column lists of B-tree indexes, in their order. */
  indexes: string[][];
  foreignKeys: ForeignKey[];
  /** Whether a policy without a condition shows all of it to whom it shows any of it. */
  sameForAll: boolean;
};

type Argument = { name: string; type: string; hasDefault: boolean; isVariadic: boolean };

export type PgFunction = {
  oid: string;
  schema: string;
  name: string;
  arguments: Argument[];
  returns: string;
  returnsSet: boolean;
  /** Columns of a function that `returns table (…)` or has out arguments. */
  columns: Column[];
  /** What Postgres expects a set to have; 1 is declared as `rows 1`. */
  rows: number;
  volatile: boolean;
  comment: string | null;
  roles: ApiRole[];
};

export type ErrorCode = { sqlstate: string; code: string; description: string };

/** What the database says of itself: everything that the API roles were granted, and what that refers to. */
export type Catalog = {
  types: PgType[];
  tables: Table[];
  functions: PgFunction[];
  /** Views that serve tables past their row level security, and do not say that they are meant to (`@asOwner`). */
  openViews: string[];
  errorCodes: ErrorCode[];
  /** The longest a statement of each role may run, as Postgres writes it: `5s`. */
  statementTimeouts: Record<ApiRole, string>;
};

/**
 * Reads the catalog in one statement.
 *
 * @param client any connection whose search_path is empty, so that type names come qualified; its role needs no rights.
 */
export async function readCatalog(client: pg.ClientBase): Promise<Catalog> {
  const { rows } = await client.query<{ catalog: Catalog }>(catalogQuery, [apiRoles]);
  return (rows[0] as { catalog: Catalog }).catalog;
}

// Objects of extensions are theirs, not the application's; names that begin with _ are private.
const catalogQuery = `
with roles as (
  select rolname, oid from pg_catalog.pg_roles where rolname = any ($1)
), schemas as (
  select namespace.oid, namespace.nspname,
    (select array_agg(roles.oid) from roles where has_schema_privilege(roles.oid, namespace.oid, 'usage')) as users
  from pg_catalog.pg_namespace as namespace
  where namespace.nspname !~ '^pg_' and namespace.nspname <> 'information_schema'
), columns as (
  -- What is not of a table is everybody's who comes by it.
  select attribute.attrelid, attribute.attnum, rights.roles, json_build_object(
    'name', attribute.attname,
    'type', attribute.atttypid,
    'notNull', attribute.attnotnull or exists (
      select from pg_catalog.pg_type as type where type.oid = attribute.atttypid and type.typtype = 'd' and type.typnotnull
    ),
    'comment', col_description(attribute.attrelid, attribute.attnum),
    'roles', coalesce(rights.roles, '[]')
  ) as description
  from pg_catalog.pg_attribute as attribute
  join pg_catalog.pg_class as class on class.oid = attribute.attrelid and class.relkind in ('r', 'p', 'v', 'm', 'f', 'c')
  join schemas on schemas.oid = class.relnamespace
  cross join lateral (
    select json_agg(roles.rolname order by roles.rolname) as roles from roles
    where class.relkind = 'c'
      or roles.oid = any (schemas.users) and has_column_privilege(roles.oid, attribute.attrelid, attribute.attnum, 'select')
  ) as rights
  where attribute.attnum > 0 and not attribute.attisdropped and not class.relispartition
), columns_of as (
  select attrelid, json_agg(description order by attnum) as list, bool_or(roles is not null) as is_read
  from columns group by attrelid
), index_columns as (
  select index.indrelid, index.indexrelid, index.indisunique, index.indisprimary, index.indpred is not null as partial,
    array_agg(attribute.attname::text order by key.position) as names
  from pg_catalog.pg_index as index
  join pg_catalog.pg_class as class on class.oid = index.indexrelid
  join pg_catalog.pg_am as method on method.oid = class.relam and method.amname = 'btree'
  cross join unnest(index.indkey::smallint[]) with ordinality as key (attnum, position)
  join pg_catalog.pg_attribute as attribute on attribute.attrelid = index.indrelid and attribute.attnum = key.attnum
  where key.position <= index.indnkeyatts and index.indisvalid and index.indexprs is null
  group by index.indrelid, index.indexrelid, index.indisunique, index.indisprimary, index.indpred is not null
), indexes_of as (
  select indrelid, json_agg(names order by indexrelid) as list,
    json_agg(names order by indexrelid) filter (where indisunique and not partial) as uniques,
    json_agg(names) filter (where indisprimary) -> 0 as key
  from index_columns group by indrelid
), labels_of as (
  select enumtypid, json_agg(enumlabel order by enumsortorder) as list from pg_catalog.pg_enum group by enumtypid
), tables as (
  select json_build_object(
    'oid', class.oid,
    'rowType', class.reltype,
    'schema', schemas.nspname,
    'name', class.relname,
    'comment', obj_description(class.oid, 'pg_class'),
    'columns', columns_of.list,
    'primaryKey', coalesce(indexes_of.key, '[]'),
    'uniques', coalesce(indexes_of.uniques, '[]'),
    'indexes', coalesce(indexes_of.list, '[]'),
    'foreignKeys', coalesce((
      select json_agg(json_build_object(
        'name', key.conname,
        'columns', array(
          select attribute.attname from unnest(key.conkey) with ordinality as part (attnum, position)
          join pg_catalog.pg_attribute as attribute on attribute.attrelid = key.conrelid and attribute.attnum = part.attnum
          order by part.position
        ),
        'table', key.confrelid,
        'foreignColumns', array(
          select attribute.attname from unnest(key.confkey) with ordinality as part (attnum, position)
          join pg_catalog.pg_attribute as attribute on attribute.attrelid = key.confrelid and attribute.attnum = part.attnum
          order by part.position
        ),
        'comment', obj_description(key.oid, 'pg_constraint')
      ) order by key.conname)
      from pg_catalog.pg_constraint as key
      where key.conrelid = class.oid and key.contype = 'f' and key.conparentid = 0
    ), '[]'),
    'sameForAll', class.relrowsecurity and exists (
      select from pg_catalog.pg_policy as policy
      where policy.polrelid = class.oid and policy.polpermissive and policy.polcmd in ('r', '*')
        and pg_get_expr(policy.polqual, policy.polrelid) = 'true'
    ) and not exists (
      select from pg_catalog.pg_policy as policy where policy.polrelid = class.oid and not policy.polpermissive
    )
  ) as description
  from pg_catalog.pg_class as class
  join schemas on schemas.oid = class.relnamespace
  join columns_of on columns_of.attrelid = class.oid and columns_of.is_read
  left join indexes_of on indexes_of.indrelid = class.oid
  where class.relkind in ('r', 'p', 'v', 'm', 'f') and not class.relispartition and class.relname !~ '^_'
    and not exists (
      select from pg_catalog.pg_depend as dependency
      where dependency.objid = class.oid and dependency.classid = 'pg_catalog.pg_class'::regclass and dependency.deptype = 'e'
    )
  order by schemas.nspname, class.relname
), functions as (
  select json_build_object(
    'oid', routine.oid,
    'schema', schemas.nspname,
    'name', routine.proname,
    'arguments', coalesce((
      select json_agg(json_build_object(
        'name', coalesce(routine.proargnames[argument.position], ''),
        'type', argument.type,
        'hasDefault', argument.number > routine.pronargs - routine.pronargdefaults,
        'isVariadic', coalesce(routine.proargmodes[argument.position] = 'v', false)
      ) order by argument.position)
      from (
        select position, type, row_number() over (order by position) as number
        from unnest(coalesce(routine.proallargtypes, routine.proargtypes::oid[])) with ordinality as every (type, position)
        where routine.proargmodes is null or routine.proargmodes[every.position] in ('i', 'b', 'v')
      ) as argument
    ), '[]'),
    'returns', routine.prorettype,
    'returnsSet', routine.proretset,
    'columns', coalesce((
      select json_agg(json_build_object(
        'name', routine.proargnames[every.position], 'type', every.type, 'notNull', false, 'comment', null, 'roles', $1
      ) order by every.position)
      from unnest(routine.proallargtypes) with ordinality as every (type, position)
      where routine.proargmodes[every.position] in ('o', 'b', 't')
    ), '[]'),
    'rows', routine.prorows,
    'volatile', routine.provolatile = 'v',
    'comment', obj_description(routine.oid, 'pg_proc'),
    'roles', granted.roles
  ) as description
  from pg_catalog.pg_proc as routine
  join schemas on schemas.oid = routine.pronamespace
  cross join lateral (
    select json_agg(roles.rolname order by roles.rolname) as roles from roles
    where roles.oid = any (schemas.users) and has_function_privilege(roles.oid, routine.oid, 'execute')
  ) as granted
  where routine.prokind = 'f' and routine.proname !~ '^_' and granted.roles is not null
    and routine.prorettype not in ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype)
    and not exists (
      select from pg_catalog.pg_depend as dependency
      where dependency.objid = routine.oid and dependency.classid = 'pg_catalog.pg_proc'::regclass and dependency.deptype = 'e'
    )
  order by schemas.nspname, routine.proname, routine.oid
), types as (
  select json_build_object(
    'oid', type.oid,
    'schema', namespace.nspname,
    'name', type.typname,
    -- -1 is any length: without it, character would be one character.
    'sqlName', format_type(type.oid, -1),
    'kind', case
      when type.typelem <> 0 and type.typlen = -1 and type.typcategory = 'A' then 'array'
      else (array['enum', 'domain', 'composite', 'pseudo', 'base', 'range', 'range'])[position(type.typtype in 'edcpbrm')]
    end,
    'of', nullif(case when type.typtype = 'd' then type.typbasetype else type.typelem end, 0),
    'notNull', type.typnotnull,
    'labels', coalesce(labels_of.list, '[]'),
    'attributes', coalesce(case when composite.relkind = 'c' then columns_of.list end, '[]'),
    'comment', obj_description(type.oid, 'pg_type')
  ) as description
  from pg_catalog.pg_type as type
  join pg_catalog.pg_namespace as namespace on namespace.oid = type.typnamespace
  left join labels_of on labels_of.enumtypid = type.oid
  left join pg_catalog.pg_class as composite on composite.oid = type.typrelid
  left join columns_of on columns_of.attrelid = type.typrelid
  where type.typtype in ('e', 'd', 'c', 'p', 'b', 'r', 'm')
    and (namespace.nspname = 'pg_catalog' or namespace.oid in (select oid from schemas))
    -- The row type of a partition is nobody's: a new month is no change of the API.
    and not exists (
      select from pg_catalog.pg_class as class
      where class.reltype <> 0 and class.reltype in (type.oid, type.typelem) and class.relispartition
    )
)
select json_build_object(
  'types', (select json_agg(description) from types),
  'tables', coalesce((select json_agg(description) from tables), '[]'),
  'functions', coalesce((select json_agg(description) from functions), '[]'),
  'openViews', coalesce((select json_agg(name) from (${openViewsQuery}) as open_views), '[]'),
  'errorCodes', (select json_agg(codes) from public.error_codes as codes),
  'statementTimeouts', (
    select json_object_agg(role.rolname, coalesce(
      (
        select substr(setting, 19)
        from unnest(role.rolconfig) as setting where setting like 'statement_timeout=%'
      ), '10s'))
    from pg_catalog.pg_roles as role where role.rolname = any ($1)
  )
) as catalog`;
