import t from 'tap';
import { openOffice, systemRoles } from '../organizations/acts.ts';
import { openWorld } from '../world.ts';

// Two accounts become one: what they have in sections beside chat.

const world = await openWorld(t);
const { owner, person } = world;
const { act, done, found, join } = openOffice(world);
const boss = await person('boss', { operator: true });
const merge = (fromId: string, intoId: string) =>
  done(boss, 'mergeAccounts', { fromId, intoId, reason: 'one person' }, 'user { username }');

t.test('one place in an organization, and what they own there', async (t) => {
  const [old, kept, eve] = [await person('old'), await person('kept'), await person('eve')];
  const both = await found(eve, [old, kept]);
  const only = await found(eve);
  await join(eve, only, old, systemRoles.admin);
  const own = await found(old, [eve]);
  await merge(old.id, kept.id);
  const { rows } = await owner.query(
    `select place.id, place.member_count, place.owner_id,
      (select count(*)::integer from organizations.memberships as one where one.organization_id = place.id) as members,
      (select role.name from organizations.memberships as one join organizations.roles as role on role.id = one.role_id
        where one.organization_id = place.id and one.user_id = $2) as role
    from organizations.organizations as place where place.id = any ($1)`,
    [[both, only, own], kept.id],
  );
  const by = Object.fromEntries(rows.map(({ id, ...row }) => [id, row]));
  t.match(by[both], { member_count: 2, members: 2, role: 'member' });
  t.match(by[only], { member_count: 2, members: 2, role: 'admin' });
  t.match(by[own], { member_count: 2, members: 2, role: 'owner', owner_id: kept.id });
  t.equal((await act(kept, 'updateOrganization', { organizationId: own, name: 'Theirs' })).errors, undefined);
});

t.test('what their files take is counted together', async (t) => {
  const [old, kept] = [await person('filer'), await person('filed')];
  await owner.query(
    `insert into files.usage (user_id, bytes, files) values ($1, 5, 1), ($2, 7, 2)
    on conflict (user_id) do update set bytes = excluded.bytes, files = excluded.files`,
    [old.id, kept.id],
  );
  await merge(old.id, kept.id);
  const { rows } = await owner.query('select bytes::integer, files::integer from files.usage where user_id = $1', [
    kept.id,
  ]);
  t.strictSame(rows, [{ bytes: 12, files: 3 }]);
});

t.test(
  'two who have a bot on one platform each are not merged: half of the conversations had no way out',
  async (t) => {
    const [old, kept] = [await person('caller'), await person('called')];
    await owner.query(
      "insert into platforms.integrations (user_id, platform_id) values ($1, 'telegram'), ($2, 'telegram')",
      [old.id, kept.id],
    );
    const refused = await act(boss, 'mergeAccounts', { fromId: old.id, intoId: kept.id, reason: 'one person' });
    t.match(refused.errors, [{ extensions: { code: 'CONFLICT' }, message: /integration with one platform/ }]);
    await owner.query('delete from platforms.integrations where user_id = $1', [kept.id]);
    await merge(old.id, kept.id);
    const { rows } = await owner.query('select platform_id from platforms.integrations where user_id = $1', [kept.id]);
    t.strictSame(rows, [{ platform_id: 'telegram' }], 'the one that there is comes along');
  },
);
