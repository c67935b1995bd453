import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import pg from 'pg';
import t, { type Test } from 'tap';
import { applySchema } from '../../functions/apply.ts';
import { startEmbedded } from '../../functions/embedded.ts';
import { backUp } from '../../workers/backup.ts';
import { proveBackup, pruneBackups } from '../../workers/backup-care.ts';
import { findTool } from '../../workers/postgres-tools.ts';
import { restore } from '../../workers/restore.ts';
import { listen, until } from '../events/listen.ts';
import { temporaryFolder } from '../running-plinth.ts';
import { openWorld, schemaFile } from '../world.ts';
import { contents, fill, key, openBench } from './backups.ts';

t.setTimeout(300_000);
const world = await openWorld(t);
const room = await fill(world);
const { databaseUrl, owner } = world;
// Compared without parentheses: Postgres sets others around `a or b or c` when it reads its own text.
const schemaPicture = readFileSync(path.join(import.meta.dirname, '../../functions/schema-picture.sql'), 'utf8');
const { rows: server } = await owner.query("select current_setting('server_version_num')::integer / 10000 as major");
const dumps = await findTool('pg_dump', server[0].major);

const urlOf = (database: string, url = databaseUrl): string => Object.assign(new URL(url), { pathname: database }).href;

/** The name of a database that there is not, and that is gone when the test ends. */
function newDatabase(t: Test, admin: Pick<pg.Pool, 'query'> = owner): string {
  const name = `restored_${randomBytes(6).toString('hex')}`;
  t.teardown(() => admin.query(`drop database if exists ${name} with (force)`));
  return name;
}

async function on<Result>(url: string, work: (client: pg.Client) => Promise<Result>): Promise<Result> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

const picture = (url: string) =>
  on(url, async (client) =>
    (await client.query(schemaPicture)).rows.map((row) => JSON.stringify(row).replace(/[()]/g, '')).sort(),
  );

/** What each index of a partition is a part of. */
const partsOfIndexes = (url: string) =>
  on(url, async (client) => {
    const { rows } = await client.query(`
      select indrelid::regclass::text as on, regexp_replace(pg_get_indexdef(indexrelid), 'INDEX \\S+ ', 'INDEX ') as made, indisvalid,
        inhparent::regclass::text as part_of
      from pg_index
      join pg_class as partition on partition.oid = indrelid and partition.relispartition
      left join pg_inherits on inhrelid = indexrelid
      order by 1, 2, 4`);
    return rows;
  });

async function drafts(): Promise<string[]> {
  const { rows } = await owner.query("select datname from pg_database where datname like 'plinth\\_restore\\_%'");
  return rows.map(({ datname }) => datname);
}

/** Flips a bit of a file; of the end where `at` is below 0. */
function alter(file: string, at: number): void {
  const bytes = readFileSync(file);
  const index = at < 0 ? bytes.length + at : at;
  bytes[index] = (bytes[index] as number) ^ 1;
  writeFileSync(file, bytes);
}

/** Whether a database is whole: partitions in place, and it goes on where it was. */
async function goesOn(url: string): Promise<string[]> {
  return on(url, async (client) => {
    await client.query('select operations.ensure_partitions(), operations.expire_codes(), operations.expire_events()');
    await client.query("insert into identity.users (username, display_name) values ('newcomer', 'New')");
    const late = { room_id: 'r1', room: 'Old room', user_id: 'u1', username: 'old1' };
    const batch = JSON.stringify([
      { ...late, line: 0, message_id: 'm1', sent_at: '2025-02-03T04:05:01Z', text: 'known' },
      { ...late, line: 1, message_id: 'late', sent_at: '2025-09-01T00:00:00Z', text: 'later' },
    ]);
    const { rows } = await client.query("select added, known from chat.import_messages('gitter', $1)", [batch]);
    const { rows: versions } = await client.query(
      'insert into public.schema_versions (sha256, content) select sha256, content from public.schema_versions limit 1 returning id > 1 as rises',
    );
    return [`${rows[0].added} added`, `${rows[0].known} known`, `rises ${versions[0].rises}`];
  });
}

const keyings: Record<string, Record<string, string>> = { plain: {}, encrypted: { BACKUP_KEY: key() } };

for (const form of ['portable', 'pg_dump'] as const) {
  for (const [kind, env] of Object.entries(keyings)) {
    const skip = form === 'pg_dump' && !dumps && 'no pg_dump of this version is installed';
    t.test(
      `E5 T9 F10 a backup, ${form}, ${kind}, restores every row, index, right and function`,
      { skip },
      async (t) => {
        const bench = openBench(t, databaseUrl, env);
        const { name } = await backUp(bench, { form });
        const into = newDatabase(t);
        const { seconds } = await restore(bench, { name, into });
        t.ok(seconds > 0);
        t.strictSame(await contents(urlOf(into)), await contents(databaseUrl));
        t.strictSame(await picture(urlOf(into)), await picture(databaseUrl));
        t.strictSame(await partsOfIndexes(urlOf(into)), await partsOfIndexes(databaseUrl));
        t.strictSame(await goesOn(urlOf(into)), ['1 added', '1 known', 'rises true']);
        const clear = readdirSync(bench.folder, { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile())
          .filter((entry) => readFileSync(path.join(entry.parentPath, entry.name)).includes('identity'));
        t.equal(clear.length === 0, kind === 'encrypted', 'names of tables are to be read in a plain one only');
      },
    );
  }
}

t.test('S1 E5 where there is a key, nothing that was put into the storage without it is restored', async (t) => {
  const bench = openBench(t, databaseUrl);
  const keyed = bench.with({ BACKUP_KEY: key() });
  const { name } = await backUp(bench, { form: 'portable' });
  await owner.query('delete from operations.backups where name = $1', [name]);
  const told = /is not encrypted: it may come from anyone/;
  await t.rejects(restore(keyed, { name, into: newDatabase(t) }), { message: told });
  await t.rejects(proveBackup(keyed, name), { message: told });
  t.strictSame((await pruneBackups(keyed)).found, [], 'nor is it taken for one of ours, to be proven next');
  t.match(bench.said, [{ msg: /./ }, { backup: name, msg: 'A backup in the storage cannot be read' }]);

  const file = path.join(bench.folder, name, 'manifest.json');
  writeFileSync(file, `${readFileSync(file, 'utf8')}${' '.repeat(2 ** 26)}`);
  await t.rejects(restore(bench, { name, into: newDatabase(t) }), {
    message: /manifest.json is not as it was written/,
  });
});

t.test('E5 T9 a backup is restored into another cluster and another version, and back again', async (t) => {
  const other = await startEmbedded({
    dataDirectory: path.join(temporaryFolder(t), 'other'),
    log() {},
    flags: ['-c', 'fsync=off'],
  });
  t.teardown(other.stop);
  const bench = openBench(t, databaseUrl, { BACKUP_KEY: key() });
  const there = bench.with({}, other.url);
  const first = await backUp(bench, { form: 'portable' });
  // That of the embedded database is called postgres, and holds nothing of ours.
  const { database } = await restore(there, { name: first.name });
  t.equal(database, 'postgres');
  t.strictSame(await contents(other.url), await contents(databaseUrl));
  t.strictSame(await goesOn(other.url), ['1 added', '1 known', 'rises true']);
  const changed = await contents(other.url);

  const back = await backUp(there);
  t.equal(back.form, 'portable', 'where no pg_dump is new enough, it goes without');
  const into = newDatabase(t);
  await restore(bench, { name: back.name, into });
  t.strictSame(await contents(urlOf(into)), changed);
  if (dumps) {
    const dumped = await backUp(bench, { form: 'pg_dump' });
    await restore(there, { name: dumped.name, into: 'forward' });
    const forward = urlOf('forward', other.url);
    t.strictSame(await contents(forward), await contents(databaseUrl));
    const owners =
      "select distinct relowner::regrole::text as owner from pg_class where relnamespace > 16384 or relname like 'schema_v%' order by 1";
    const { rows } = await on(forward, (client) => client.query(owners));
    t.strictSame(
      rows.map(({ owner }) => owner),
      ['plinth_owner', 'postgres'],
      'nothing belongs to a role of the other cluster',
    );
  }
});

t.test('E5 a backup that was altered, cut short or lost changes nothing, and says why', async (t) => {
  for (const env of Object.values(keyings)) {
    const bench = openBench(t, databaseUrl, env);
    const [before, there] = [await contents(databaseUrl), await drafts()];
    const { name, tables } = await backUp(bench, { form: 'portable' });
    const messages = tables.find(({ name, rows }) => name.startsWith('messages_') && rows > 0)?.file?.name ?? '';
    const folder = path.join(bench.folder, name);
    const [data, manifest] = [path.join(folder, messages), path.join(folder, 'manifest.json')];
    const cases: [string, () => void, RegExp][] = [
      ['a byte', () => alter(data, 40), /cannot be used: chat\.messages_/],
      ['the last byte', () => alter(data, -1), /cannot be used: chat\.messages_/],
      ['a cut', () => truncateSync(data, 60), /holds 60 bytes instead of/],
      ['a loss', () => rmSync(data), /is missing/],
      ['the manifest', () => alter(manifest, 200), /manifest\.json/],
      ['the manifest cut', () => truncateSync(manifest, 300), /manifest\.json/],
      ['no manifest', () => rmSync(manifest), /was not finished/],
      ['nothing', () => rmSync(folder, { recursive: true }), /There is no backup/],
    ];
    for (const [what, damage, message] of cases) {
      const whole = [data, manifest].map((file) => readFileSync(file));
      damage();
      await t.rejects(restore(bench, { name }), { name: 'Refusal', message }, what);
      if (what === 'nothing') break;
      writeFileSync(data, whole[0] as Buffer);
      writeFileSync(manifest, whole[1] as Buffer);
    }
    t.strictSame(await contents(databaseUrl), before);
    // Others that run beside this test have some for a moment, too.
    const begun = (await drafts()).filter((each) => !there.includes(each));
    await until(async () => (await drafts()).every((each) => !begun.includes(each)), 'The end of what was begun');
  }
});

t.test('E5 a file of one backup cannot stand in for that of another, and another key opens none', async (t) => {
  const bench = openBench(t, databaseUrl, { BACKUP_KEY: key() });
  const [one, two] = [await backUp(bench, { form: 'portable' }), await backUp(bench, { form: 'portable' })];
  const [from, to] = [one, two].map(({ name }) => path.join(bench.folder, name, 'manifest.json'));
  const manifest = readFileSync(to as string);
  writeFileSync(to as string, readFileSync(from as string));
  await t.rejects(restore(bench, { name: two.name, into: newDatabase(t) }), { message: /altered or cut short/ });
  writeFileSync(to as string, manifest);
  const others = bench.with({ BACKUP_KEY: key() });
  await t.rejects(restore(others, { name: one.name, into: newDatabase(t) }), {
    message: /cannot be decrypted: it was encrypted with the key [0-9a-f]{16}/,
    remedy: /BACKUP_KEY/,
  });
  const rotated = bench.with({ BACKUP_KEY: `${key()},${bench.env.BACKUP_KEY}` });
  await restore(rotated, { name: one.name, into: newDatabase(t) });
});

t.test('E5 a backup whose rows do not fit its schema is refused', async (t) => {
  const bench = openBench(t, databaseUrl);
  await owner.query('alter table chat.nonces add column by_hand integer');
  t.teardown(() => owner.query('alter table chat.nonces drop column if exists by_hand'));
  const { name } = await backUp(bench, { form: 'portable' });
  await t.rejects(restore(bench, { name }), { name: 'Refusal', message: /does not fit its schema.*by_hand/ });
  await owner.query('alter table chat.nonces drop column by_hand');
  // What schema.sql does not know is not left out in silence.
  await owner.query('create schema tried; create table tried.things as select 1 as n');
  t.teardown(() => owner.query('drop schema if exists tried cascade'));
  const tried = await backUp(bench, { form: 'portable' });
  await t.rejects(restore(bench, { name: tried.name }), {
    message: /does not fit its schema.*tried/,
    remedy: /npm run db -- adopt/,
  });
  await owner.query('drop schema tried cascade');
});

t.test('E5 the owner of a database who is no superuser backs it up and restores it', async (t) => {
  const role = `owner_${randomBytes(4).toString('hex')}`;
  const name = newDatabase(t);
  t.teardown(async () => {
    await owner.query(`drop database if exists ${name} with (force)`);
    await owner.query(`drop owned by ${role}; drop role ${role}`);
  });
  await owner.query(`create role ${role} login createdb createrole password '${role}'`);
  // From 16 on, roles that others have made are theirs to give.
  await owner.query(
    `grant plinth_owner, plinth_server, anonymous, member, operator, service to ${role} with admin option`,
  );
  await owner.query(`create database ${name} owner ${role}`);
  const url = Object.assign(new URL(urlOf(name)), { username: role, password: role }).href;
  await on(url, async (client) => {
    await applySchema(client, readFileSync(schemaFile, 'utf8'), 'schema.sql');
    const said = { line: 0, message_id: 'm1', room_id: 'r1', room: 'Old', user_id: 'u1', username: 'old1' };
    await client.query("select * from chat.import_messages('gitter', $1)", [
      JSON.stringify([{ ...said, sent_at: '2025-02-03T04:05:01Z', text: 'x' }]),
    ]);
  });
  const bench = openBench(t, url);
  const before = await contents(url);
  t.equal(before['chat.messages']?.length, 1);
  for (const form of dumps ? (['portable', 'pg_dump'] as const) : (['portable'] as const)) {
    const backup = await backUp(bench, { form });
    await on(url, (client) => client.query('delete from chat.messages'));
    await restore(bench, { name: backup.name });
    t.strictSame(await contents(url), before, form);
    t.strictSame(await goesOn(url), ['1 added', '1 known', 'rises true'], form);
    await restore(bench, { name: backup.name });
  }
});

t.test(
  'F10 data alone is restored with the schema of the repository, a section into a database of its own',
  async (t) => {
    const bench = openBench(t, databaseUrl);
    const data = await backUp(bench, { parts: 'data' });
    t.equal(data.schemaFile, null);
    const into = newDatabase(t);
    await restore(bench, { name: data.name, into });
    t.strictSame(await contents(urlOf(into)), await contents(databaseUrl));

    const chat = await backUp(bench, { parts: 'chat' });
    await t.rejects(restore(bench, { name: chat.name }), { message: /holds the section chat alone/ });
    const aside = newDatabase(t);
    await restore(bench, { name: chat.name, into: aside });
    const [whole, part] = [await contents(databaseUrl), await contents(urlOf(aside))];
    t.strictSame(part['chat.messages'], whole['chat.messages']);
    t.strictSame(part['identity.users'], []);
    await t.rejects(backUp(bench, { parts: 'chats' }), { message: 'There is no section "chats".', remedy: /chat/ });
  },
);

t.test(
  'E5 C13 a server whose database is restored goes on; its subscribers are told to read anew, by whatever cursor',
  async (t) => {
    const { ask, person } = world;
    const eve = await person(`eve${randomBytes(3).toString('hex')}`);
    const { rows: sender } = await owner.query("select id from identity.users where username = 'ann'");
    const { rows } = await owner.query('select (identity.open_session($1)).access_token as claims', [sender[0].id]);
    const ann = { ...eve, token: await world.tokens.sign(rows[0].claims) };
    const query =
      'subscription ($id: UUID!, $after: String) { channelEvents(channelId: $id, after: $after) { event { cursor seq type } } }';
    const send = (text: string) =>
      ask(
        'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { seq } } }',
        { input: { channelId: room, text } },
        ann.token,
      );
    const hear = (after?: string) =>
      listen(t, world.server.url, { query, variables: { id: room, ...(after && { after }) }, token: ann.token });
    const cursorNow = async (): Promise<string> => (await ask('{ cursor }', {}, ann.token)).data.cursor;
    const bench = openBench(t, databaseUrl);
    const { name } = await backUp(bench);

    const old = await cursorNow();
    const live = hear(old);
    await send('lost');
    const { cursor, seq } = (await live.next()).data.channelEvents.event;
    await restore(bench, { name });
    const last = await live.rest();
    t.match(last.at(0), { errors: [{ extensions: { code: 'CURSOR_EXPIRED' } }] });

    // The server finds its connections gone, once for each.
    for (let attempt = 0; attempt < 20 && (await ask('{ cursor }', {}, ann.token)).errors; attempt++);
    const now = await cursorNow();
    t.match(now, /^[0-9a-f]+\./);
    const ear = hear(now);
    await send('one');
    const heard = (await ear.next()).data.channelEvents.event;
    t.equal(heard.type, 'message_sent');
    // More events than were lost, and as many transactions: still none of the old places counts.
    for (const text of ['two', 'three', 'four']) await send(text);
    for (const place of [old, cursor, seq, String(Number(seq) - 2)])
      t.match(await hear(place).next(), { errors: [{ extensions: { code: 'CURSOR_EXPIRED' } }] }, place);
    for (const place of [now, heard.cursor, heard.seq]) {
      const again = hear(place);
      const types = (await again.take(3)).map(({ data }) => data.channelEvents.event.type);
      t.strictSame(types, ['message_sent', 'message_sent', 'message_sent'], place);
    }
    const { data } = await ask(
      'query ($id: UUID!) { channel(id: $id) { messages(last: 10) { nodes { text } } } }',
      { id: room },
      ann.token,
    );
    t.notOk(JSON.stringify(data).includes('lost'));
    t.ok(JSON.stringify(data).includes('four'));
  },
);
