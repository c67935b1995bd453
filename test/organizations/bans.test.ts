import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { codeOf, openOffice } from './acts.ts';

// A ban from a room that follows an organization: out of the room, not out of the organization.

t.setTimeout(120_000);
const world = await openWorld(t);
const { ask, owner } = world;
const { act, done, found, join, room, inRoom, people, department } = openOffice(world);
const ban = (by: Person, channelId: string, { id: userId }: Person, input: object = {}) =>
  act(by, 'banFromRoom', { channelId, userId, ...input }, 'roomBan { endsAt }');
const unban = (by: Person, channelId: string, { id: userId }: Person) =>
  act(by, 'unbanFromRoom', { channelId, userId });
const follow = () => owner.query('select chat.follow_organizations()');

t.test('who is banned is out of the room and stays in the organization; lifted, they are in again', async (t) => {
  const [ann, bob, cat] = (await people('ann', 'bob', 'cat')) as [Person, Person, Person];
  const works = await found(ann, [bob, cat]);
  const [place, other] = [await room(ann, works), await room(ann, works)];
  t.notOk((await ban(ann, place, bob, { reason: 'noise' })).errors);
  t.strictSame(await inRoom(place), ['ann', 'cat']);
  t.strictSame(await inRoom(other), ['ann', 'bob', 'cat'], 'of that room alone');
  const seen = await ask('query ($id: UUID!) { organization(id: $id) { memberCount } }', { id: works }, bob.token);
  t.equal(seen.data.organization.memberCount, 3);
  t.equal((await ask('query ($id: UUID!) { channel(id: $id) { id } }', { id: place }, bob.token)).data.channel, null);

  // Nothing that follows brings them back: work there, another place, a night.
  const paint = await department(ann, works, 'Paint');
  await done(ann, 'assignDepartment', { organizationId: works, userId: bob.id, departmentId: paint });
  await owner.query('update chat.organization_rooms set is_behind = true');
  await follow();
  await owner.query('select chat.expire_rooms()');
  t.strictSame(await inRoom(place), ['ann', 'cat']);
  await done(bob, 'leaveOrganization', { organizationId: works });
  await join(ann, works, bob);
  t.strictSame(await inRoom(place), ['ann', 'cat'], 'nor leaving the organization and coming again');

  t.notOk((await unban(ann, place, bob)).errors);
  t.strictSame(await inRoom(place), ['ann', 'bob', 'cat']);
  await follow();
  const { rows } = await owner.query('select is_behind from chat.organization_rooms where channel_id = $1', [place]);
  t.strictSame(rows, [{ is_behind: false }]);
});

t.test('one for a time ends by itself, whoever removes its row', async (t) => {
  const [dee, eve] = (await people('dee', 'eve')) as [Person, Person];
  const works = await found(dee, [eve]);
  const place = await room(dee, works);
  for (const end of ['chat.follow_organizations()', 'chat.expire_rooms()']) {
    t.notOk((await ban(dee, place, eve, { seconds: 3600 })).errors);
    await follow();
    t.strictSame(await inRoom(place), ['dee']);
    await owner.query("update chat.room_bans set ends_at = now() - interval '1 second' where channel_id = $1", [place]);
    await owner.query(`select ${end}`);
    await follow();
    t.strictSame(await inRoom(place), ['dee', 'eve'], end);
  }
});

t.test('for whoever moderates the room, about those below them; removing by hand is refused as ever', async (t) => {
  const [fin, gus, hal, ida] = (await people('fin', 'gus', 'hal', 'ida')) as [Person, Person, Person, Person];
  const works = await found(fin, [gus, hal]);
  const place = await room(fin, works);
  t.equal(codeOf(await ban(gus, place, hal)), 'FORBIDDEN', 'a member');
  t.equal(codeOf(await ban(gus, place, fin)), 'FORBIDDEN');
  t.equal(codeOf(await ban(ida, place, hal)), 'NOT_FOUND', 'who is not in the organization');
  t.equal(codeOf(await ban(fin, place, fin)), 'FORBIDDEN', 'oneself');
  t.equal(codeOf(await act(fin, 'removeMember', { channelId: place, userId: hal.id })), 'CONFLICT');
  t.strictSame(await inRoom(place), ['fin', 'gus', 'hal']);
  await done(fin, 'changeMemberRole', { channelId: place, userId: gus.id, role: 'MODERATOR' });
  t.notOk((await ban(gus, place, hal)).errors, 'a moderator');
  t.strictSame(await inRoom(place), ['fin', 'gus']);
  t.notOk((await ban(gus, place, ida)).errors, 'beforehand, who is not in the organization yet');
  await join(fin, works, ida);
  t.strictSame(await inRoom(place), ['fin', 'gus']);
  await done(fin, 'releaseOrganizationRoom', { channelId: place });
  t.equal(codeOf(await act(fin, 'addMember', { channelId: place, userId: hal.id })), 'FORBIDDEN', 'it outlasts that');
  t.notOk((await unban(fin, place, hal)).errors);
  t.strictSame(await inRoom(place), ['fin', 'gus'], 'and nobody comes by it then');
});

t.test('a ban and a coming to the organization at once: nobody who is banned is in', async (t) => {
  const [jon, ...crowd] = await people('jon', ...Array.from({ length: 8 }, (_, n) => `crowd${n}`));
  if (!jon) throw new Error('Somebody was asked for.');
  const works = await found(jon);
  const place = await room(jon, works);
  const answers = await Promise.all(
    crowd.flatMap((each) => [join(jon, works, each), ban(jon, place, each).then(({ errors }) => t.notOk(errors))]),
  );
  t.equal(answers.length, 16);
  t.strictSame(await inRoom(place), ['jon']);
  await Promise.all(crowd.map((each) => unban(jon, place, each)));
  t.equal((await inRoom(place)).length, 9);
});
