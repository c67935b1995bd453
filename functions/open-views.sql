-- Views that serve tables past their row level security, and do not say that they are meant to (@asOwner): they are read with the
-- rights of their owner, whom policies do not bind, or are a copy, which has none. (open-views.ts)
select quote_ident(space.nspname) || '.' || quote_ident(class.relname) as name
from pg_catalog.pg_class as class
join pg_catalog.pg_namespace as space on space.oid = class.relnamespace
where space.nspname !~ '^pg_' and space.nspname <> 'information_schema'
  and (class.relkind = 'm' or (
    class.relkind = 'v'
    and not exists (select from unnest(class.reloptions) as option where option ~* '^security_invoker=(t|on|y|1)')
  ))
  and (
    exists (select from aclexplode(class.relacl) as given where given.grantee <> class.relowner)
    or exists (select from pg_catalog.pg_attribute where attrelid = class.oid and attacl is not null)
  )
  and coalesce(obj_description(class.oid, 'pg_class'), '') !~ '(^|\n)@asOwner\M'
  and exists (
    select from pg_catalog.pg_rewrite as rule
    join pg_catalog.pg_depend as dependency
      on dependency.classid = 'pg_catalog.pg_rewrite'::regclass and dependency.objid = rule.oid
      and dependency.refclassid = 'pg_catalog.pg_class'::regclass
    join pg_catalog.pg_class as read on read.oid = dependency.refobjid and read.relrowsecurity
    where rule.ev_class = class.oid
  )
order by 1
