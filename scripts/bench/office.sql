-- An organization of bench.size people: an owner, admins, clerks with a role of its own, else members, in 200 departments. Five of the
-- admins have given every tenth person a proxy, and all ten of them one person ten. Without triggers: nobody is told.
set session_replication_role = replica;
truncate organizations.organizations cascade;
insert into organizations.roles (id, name, permissions)
values
  (organizations._system_role('owner'),  'owner',  '{"*": ["*"]}'),
  (organizations._system_role('admin'),  'admin',  '{"*": ["read", "write", "delete"]}'),
  (organizations._system_role('member'), 'member', '{"*": ["read"]}');
delete from identity.users where username like 'office-%';

insert into identity.users (username, display_name)
select 'office-' || n, 'Office ' || n from generate_series(1, current_setting('bench.size')::integer) as n;
insert into organizations.organizations (name, member_limit, member_count, owner_id)
select 'Office', 100000, current_setting('bench.size')::integer, id from identity.users where username = 'office-1';
insert into organizations.roles (organization_id, name, permissions)
select id, 'clerk', '{"documents": ["read", "write"], "departments": ["read"], "members": ["read"]}'
from organizations.organizations;

insert into organizations.departments (id, organization_id, name, lineage)
select made.id, place.id, 'Department ' || made.n, array[made.id]
from organizations.organizations as place,
  lateral (select gen_random_uuid() as id, n from generate_series(1, 200) as n where place.id is not null) as made;

insert into organizations.memberships (organization_id, user_id, role_id, department_id)
select
  place.id,
  person.id,
  case
    when person.n = 1 then organizations._system_role('owner')
    when person.n between 2 and 11 then organizations._system_role('admin')
    when person.n % 2 = 0 then clerk.id
    else organizations._system_role('member')
  end,
  department.id
from organizations.organizations as place
cross join (
  select id, substr(username, 8)::integer as n from identity.users where username like 'office-%'
) as person
join organizations.roles as clerk on clerk.organization_id = place.id
join organizations.departments as department on department.name = 'Department ' || person.n % 200 + 1;

insert into organizations.proxies (organization_id, principal_id, agent_id, permissions, starts_at, ends_at)
select place.id, principal.id, agent.id, '{"payments": ["write"]}', now() - interval '1 day', now() + interval '1 day'
from organizations.organizations as place
join identity.users as principal on principal.username in ('office-2', 'office-3', 'office-4', 'office-5', 'office-6')
join identity.users as agent on agent.username like 'office-%'
where substr(agent.username, 8)::integer % 10 = 9;

-- The most that one may have.
insert into organizations.proxies (organization_id, principal_id, agent_id, permissions, starts_at)
select place.id, principal.id, agent.id, '{"archive": ["write"]}', now() - interval '1 day'
from organizations.organizations as place
cross join generate_series(2, 11) as n
join identity.users as principal on principal.username = 'office-' || n
join identity.users as agent on agent.username = 'office-12'
cross join generate_series(1, 10);
reset session_replication_role;
