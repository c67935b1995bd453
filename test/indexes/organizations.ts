import { office, part, type Section, someone } from './section.ts';

export const organizations: Section = {
  uses: {
    'organizations.organizations_pkey': `select * from organizations.permission(${office}, 'read', 'documents')`,
    'organizations.organizations_owner_id_idx': 'select * from organizations._known()',
    'organizations.roles_pkey': `select * from organizations.permission(${office}, 'read', 'documents')`,
    'organizations.roles_name_key': null,
    'organizations.roles_organization_id_name_id_idx': `select * from organizations.roles where organization_id = ${office} order by name, id limit 20`,
    'organizations.departments_pkey': `select organizations.update_department(${part}, 'another name')`,
    'organizations.departments_name_key': null,
    'organizations.departments_organization_id_name_id_idx': `select * from organizations.departments where organization_id = ${office} order by name, id limit 20`,
    'organizations.departments_parent_id_name_id_idx': `select organizations.delete_department(${part})`,
    'organizations.departments_manager_id_idx': `select * from organizations.departments where manager_id = ${someone} order by id limit 20`,
    'organizations.positions_pkey': `select organizations.update_position((select id from organizations.positions where organization_id = ${office} limit 1), 'x')`,
    'organizations.positions_title_key': null,
    'organizations.positions_organization_id_level_id_idx': `select * from organizations.positions where organization_id = ${office} order by level desc, id limit 20`,
    'organizations.memberships_pkey': `select * from organizations.memberships where organization_id = ${office} order by user_id limit 20`,
    'organizations.memberships_owner_key': null,
    'organizations.memberships_user_id_organization_id_idx':
      "select * from organizations._where_may('read', 'documents')",
    'organizations.memberships_role_id_user_id_idx': "delete from organizations.roles where name = 'spare 7'",
    'organizations.memberships_department_id_user_id_idx': `delete from organizations.departments where id = ${part}`,
    'organizations.memberships_position_id_user_id_idx': `delete from organizations.positions where organization_id = ${office}`,
    'organizations.memberships_given_by_idx': `select * from organizations.memberships where given_by = ${someone} order by organization_id, user_id limit 20`,
    'organizations.memberships_ends_at_idx': 'select organizations.end_due()',
    'organizations.proxies_pkey':
      "select organizations.revoke_proxy(id) from organizations.proxies where permissions <> '{}' limit 1",
    'organizations.proxies_agent_id_organization_id_idx': "select * from organizations._where_may('read', 'documents')",
    'organizations.proxies_principal_id_organization_id_idx': `select * from organizations.proxies where principal_id = ${someone} order by organization_id limit 20`,
    'organizations.proxies_organization_id_id_idx': `select * from organizations.proxies where organization_id = ${office} order by id desc limit 20`,
    'organizations.proxies_given_by_idx': `select * from organizations.proxies where given_by = ${someone} order by id limit 20`,
    'organizations.proxies_over_idx': 'select organizations.end_due()',
    'organizations.invitations_pkey':
      'select organizations.decline_organization_invitation(id) from (select id from organizations.invitations where user_id = identity.current_user_id() limit 1) as mine',
    'organizations.invitations_organization_id_user_id_key': `select * from organizations.invitations where organization_id = ${office} order by user_id limit 20`,
    'organizations.invitations_user_id_id_idx': `select * from organizations.invitations where user_id = ${someone} order by id desc limit 20`,
    'organizations.invitations_role_id_idx': "delete from organizations.roles where name = 'spare 7'",
    'organizations.invitations_invited_by_idx': `select * from organizations.invitations where invited_by = ${someone} order by id limit 20`,
    'organizations.invitations_expires_at_idx': 'select organizations.end_due()',
  },
  rows: `
  insert into organizations.organizations (name, owner_id, member_count) select 'office ' || n, id, 4 from who;
  create temp table office as select id, substr(name, 8)::integer as n from organizations.organizations;
  create index on office (n);
  insert into organizations.roles (organization_id, name, permissions) select id, 'clerk', '{"documents": ["read"]}' from office;
  insert into organizations.roles (organization_id, name) select id, 'spare ' || step from office, generate_series(1, 20) as step where n = 77;
  insert into organizations.departments (id, organization_id, name, manager_id, lineage)
    select made.id, office.id, 'part ' || office.n, who.id, array[made.id]
    from office join who on who.n = office.n cross join lateral (select gen_random_uuid() as id, office.n) as made;
  insert into organizations.positions (organization_id, title, level) select office.id, 'post ' || step, step from office, generate_series(1, 5) as step;
  insert into organizations.memberships (organization_id, user_id, role_id, given_by, given_at, ends_at, department_id, position_id)
    select office.id, who.id, case when step = 0 then organizations._system_role('owner') else role.id end, first.id, now() - interval '2 days',
      case when step > 0 and office.n % 100 = 0 then now() - interval '1 day' end, part.id, post.id
    from office cross join generate_series(0, 3) as step join who on who.n = (office.n - 1 + step * 31) % 3000 + 1 join who as first on first.n = office.n
    join organizations.roles as role on role.organization_id = office.id and role.name = 'clerk'
    join organizations.departments as part on part.organization_id = office.id
    join organizations.positions as post on post.organization_id = office.id and post.title = 'post ' || step + 1;
  insert into organizations.proxies (organization_id, principal_id, agent_id, given_by, permissions, starts_at, ends_at)
    select office.id, one.id, other.id, one.id, case when office.n = 77 then '{"documents": ["read"]}' else '{}' end::jsonb, now() - interval '90 days',
      case when office.n % 50 = 0 then now() - interval '60 days' when office.n % 2 = 0 then now() + interval '60 days' end
    from office join who as one on one.n = office.n join who as other on other.n = office.n % 3000 + 1 cross join generate_series(1, 2);
  insert into organizations.invitations (organization_id, user_id, role_id, invited_by, created_at, expires_at)
    select office.id, who.id, role.id, first.id, now() - interval '2 days', now() + case when office.n % 100 = 0 then -interval '1 hour' else interval '1 day' end
    from office cross join generate_series(5, 7) as step join who on who.n = (office.n + step * 31) % 3000 + 1 join who as first on first.n = office.n
    join organizations.roles as role on role.organization_id = office.id and role.name = 'clerk';
  insert into chat.organization_rooms (channel_id, organization_id, department_id, is_behind)
    select room.id, office.id, part.id, office.n % 200 = 0 from room join office on room.n = office.n + 1500 and office.n <= 1400 and office.n <> 77 join organizations.departments as part on part.organization_id = office.id;
  `,
};
