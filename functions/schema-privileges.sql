-- The statements that bring objects back to the privileges they were created with. $1: the schemas of the application, $2: the roles
-- that lose and get privileges, beside public. (schema-privileges.ts)
--
-- What a new object gets: the default privileges that its owner has set (the global ones stand in for
-- Postgres's own, those of a schema come on top). An object whose ACL is null still has just that.
with grantees (oid, name) as (
  select 0::oid, 'public'
  union all
  select oid, quote_ident(rolname) from pg_catalog.pg_roles where rolname = any ($2)
),
objects (kind, name, acl, owner, namespace, letter, catalog, oid) as (
  select 'schema', quote_ident(nspname), nspacl, nspowner, 0::oid, 'n', 'pg_namespace'::regclass, oid
  from pg_catalog.pg_namespace
  union all
  select case relkind when 'S' then 'sequence' else 'table' end, format('%I.%I', nspname, relname),
    coalesce(relacl, (select attacl from pg_catalog.pg_attribute where attrelid = class.oid and attacl is not null limit 1)),
    relowner, relnamespace, case relkind when 'S' then 'S' else 'r' end, 'pg_class'::regclass, class.oid
  from pg_catalog.pg_class as class join pg_catalog.pg_namespace as space on space.oid = relnamespace
  where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
  union all
  select 'routine', format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(routine.oid)),
    proacl, proowner, pronamespace, 'f', 'pg_proc'::regclass, routine.oid
  from pg_catalog.pg_proc as routine join pg_catalog.pg_namespace as space on space.oid = pronamespace
  union all
  select 'type', format('%I.%I', nspname, typname), typacl, typowner, typnamespace, 'T', 'pg_type'::regclass, type.oid
  from pg_catalog.pg_type as type join pg_catalog.pg_namespace as space on space.oid = typnamespace
),
ours as (
  select * from objects
  where acl is not null
    and case kind when 'schema' then oid else namespace end = any (
      select pg_namespace.oid from pg_catalog.pg_namespace
      where nspname = any ($1) or (nspname = 'public' and kind <> 'schema')
    )
    and not exists (
      select from pg_catalog.pg_depend
      where classid = catalog and objid = objects.oid and deptype = 'e'
    )
),
defaults as (
  select kind, name, privilege_type, given.grantee
  from ours
  left join pg_catalog.pg_default_acl as global
    on global.defaclobjtype::text = letter and global.defaclnamespace = 0 and global.defaclrole = owner
  left join pg_catalog.pg_default_acl as local
    on local.defaclobjtype::text = letter and local.defaclnamespace = namespace and local.defaclrole = owner
  cross join lateral (
    select * from aclexplode(coalesce(global.defaclacl, acldefault(case letter when 'S' then 's' else letter end::"char", owner)))
    union
    select * from aclexplode(local.defaclacl)
  ) as given
  where given.grantee <> owner
)
select format('revoke all on %s %s from %s', kind, name, (select string_agg(grantees.name, ', ') from grantees where grantees.oid <> owner)) as statement
from ours
union all
select format('grant %s on %s %s to %s', privilege_type, kind, defaults.name, grantees.name)
from defaults join grantees on grantees.oid = defaults.grantee;
