-- Calls that load the libraries of the extensions: who is no superuser may set a parameter of theirs on a function (set pg_trgm.…) only
-- then. Null is never passed on to a strict function, so nothing is done. (schema-live.ts)
select distinct on (probin) format(
  'select %I.%I(%s) from (select null::text as value offset 0) as none', nspname, proname,
  (select string_agg(format('value::%s', type::regtype), ', ') from unnest(proargtypes) as type)
) as call
from pg_catalog.pg_proc as routine
join pg_catalog.pg_namespace as space on space.oid = pronamespace
join pg_catalog.pg_language as language on language.oid = prolang and lanname = 'c'
join pg_catalog.pg_depend on classid = 'pg_catalog.pg_proc'::regclass and objid = routine.oid and deptype = 'e'
where prokind = 'f' and proisstrict and not proretset and pronargs > 0
  and not exists (
    select from pg_catalog.pg_type as type where type.oid = any (proargtypes::oid[] || prorettype) and typtype = 'p'
  )
order by probin, routine.oid
