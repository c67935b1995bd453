import { randomUUID } from 'node:crypto';
import t from 'tap';
import { openOffice, systemRoles } from '../organizations/acts.ts';
import { openWorld, type Person } from '../world.ts';
import { actsIn, codeOf } from './acts.ts';

// How long an organization keeps the messages of its rooms: room before organization before for ever; holds before all.

const world = await openWorld(t);
const { ask, owner, person } = world;
const { act, say, sayEarlier, texts } = actsIn(world);
const { done, found, join, room } = openOffice(world);
const boss = await person('boss', { operator: true });
const set = (by: Person | undefined, organizationId: string, days?: number) =>
  act(by, 'setOrganizationRetention', { organizationId, days }, 'organization { retention { days } }');
const setRoom = (by: Person, channelId: string, days?: number) =>
  act(by, 'setRetention', { channelId, days }, 'channel { retention { days source } }');
const rule = async (by: Person, id: string) =>
  (await ask('query ($id: UUID!) { channel(id: $id) { retention { days source } } }', { id }, by.token)).data.channel
    .retention;
const expire = async (): Promise<number> =>
  Number((await owner.query('select accounts.expire_messages() as removed')).rows[0].removed);

t.test('the room’s rule comes before the organization’s, and without either all is kept', async (t) => {
  const [ann, bob] = [await person('ann'), await person('bob')];
  const works = await found(ann, [bob]);
  const [one, two] = [await room(ann, works), await room(ann, works)];
  for (const place of [one, two]) {
    await sayEarlier(place, ann, 100, 'old');
    await sayEarlier(place, ann, 40, 'middle');
    await say(ann, place, 'new');
  }
  t.equal(await expire(), 0, 'for ever');
  t.strictSame((await set(ann, works, 60)).data.setOrganizationRetention.organization.retention, { days: 60 });
  t.strictSame(await rule(bob, one), { days: 60, source: 'ORGANIZATION' });
  t.strictSame((await setRoom(ann, two, 30)).data.setRetention.channel.retention, { days: 30, source: 'ROOM' });
  t.equal(await expire(), 3);
  t.strictSame(await texts(bob, one), ['middle', 'new']);
  t.strictSame(await texts(bob, two), ['new']);

  await set(ann, works, 90);
  t.strictSame(await rule(bob, one), { days: 90, source: 'ORGANIZATION' });
  t.strictSame(await rule(bob, two), { days: 30, source: 'ROOM' }, 'the room’s own stays');
  t.strictSame((await setRoom(ann, two)).data.setRetention.channel.retention, { days: 90, source: 'ORGANIZATION' });
  const later = await room(ann, works);
  t.strictSame(await rule(bob, later), { days: 90, source: 'ORGANIZATION' }, 'a room that is made later');
  await done(ann, 'releaseOrganizationRoom', { channelId: later });
  t.equal(await rule(ann, later), null, 'one that is released');
  t.strictSame((await set(ann, works)).data.setOrganizationRetention.organization.retention, null);
  t.equal(await rule(bob, one), null);
  const { rows } = await owner.query(
    `select data -> 'days' as days from events.log where topic = 'channel:' || $1 and type = 'retention_changed' order by seq`,
    [one],
  );
  t.strictSame(
    rows.map(({ days }) => days),
    [60, 90, null],
    'those in the room are told',
  );
});

t.test('its owner and who may write the organization set it, within bounds', async (t) => {
  const [cal, dee, eve, fin] = [await person('cal'), await person('dee'), await person('eve'), await person('fin')];
  const works = await found(cal, [dee]);
  await join(cal, works, fin, systemRoles.admin);
  t.equal(codeOf(await set(undefined, works, 30)), 'FORBIDDEN');
  t.equal(codeOf(await set(eve, works, 30)), 'NOT_FOUND', 'who does not know it');
  t.equal(codeOf(await set(boss, works, 30)), 'NOT_FOUND', 'who runs the place is not in it');
  t.equal(codeOf(await set(dee, works, 30)), 'FORBIDDEN', 'a member');
  t.equal(codeOf(await set(cal, randomUUID(), 30)), 'NOT_FOUND');
  for (const days of [0, -1, 3651, 2_147_483_647])
    t.equal(codeOf(await set(cal, works, days)), 'BAD_USER_INPUT', String(days));
  t.equal((await owner.query('select from accounts.organization_retentions')).rowCount, 0, 'nothing has changed');
  t.notOk((await set(fin, works, 30)).errors, 'an admin');
  const answers = await Promise.all([set(cal, works, 10), set(fin, works, 20), room(cal, works)]);
  t.strictSame([codeOf(answers[0]), codeOf(answers[1])], [undefined, undefined], 'two at once, and a new room');
  const { rows } = await owner.query(
    `select kept.days = rule.days as agrees from accounts.retentions as kept
    cross join accounts.organization_retentions as rule where kept.channel_id = $1 and rule.organization_id = $2`,
    [answers[2], works],
  );
  t.strictSame(rows, [{ agrees: true }]);
  const seen = async (by: Person) =>
    (await ask('{ organizationRetentions { nodes { organization { id } } } }', {}, by.token)).data
      .organizationRetentions.nodes;
  t.strictSame(await seen(dee), [{ organization: { id: works } }]);
  t.strictSame(await seen(eve), []);
  await done(cal, 'closeOrganization', { organizationId: works });
  t.equal(codeOf(await set(cal, works, 50)), 'CONFLICT', 'closed');
});

t.test('a legal hold wins', async (t) => {
  const gus = await person('gus');
  const works = await found(gus);
  const place = await room(gus, works);
  await sayEarlier(place, gus, 100, 'old');
  await set(gus, works, 30);
  t.notOk((await act(boss, 'placeHold', { channelId: place, reason: 'a case' }, 'act { kind }')).errors);
  t.equal(await expire(), 0);
  t.strictSame(await texts(gus, place), ['old']);
  t.notOk((await act(boss, 'releaseHold', { channelId: place, reason: 'closed' }, 'act { kind }')).errors);
  t.equal(await expire(), 1);
});
