import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { parse } from 'csv-parse/sync';
import { readXlsx } from 'hucre/xlsx';
import pg from 'pg';
import t from 'tap';
import { openPlatformWorld, writes } from '../platforms/platform-world.ts';
import type { Person } from '../world.ts';
import { contract, take } from './sample.ts';

// D4: asked for, answered at once, made by a job, stored, told by notification and Telegram with a link that expires.

const folder = await mkdtemp(path.join(tmpdir(), 'plinth-contract-exports-'));
const world = await openPlatformWorld(t, {
  BACKUP_STORAGE: folder,
  BACKUP_KEY: randomBytes(32).toString('base64url'),
});
t.teardown(() => rm(folder, { recursive: true, force: true }));
const { ask, ended, eventually, owner, person, post, server, sql, telegram } = world;

const there = { region: 'KZ-75', customer_name: 'ТОО "Заказчик"' };
const dangerous = '=HYPERLINK("http://evil.test","press")';
await take(world, [
  ...Array.from({ length: 2500 }, (_, n) =>
    contract(`there ${n}`, {
      ...there,
      contract_sum: `${500 + n / 100}`,
      subject: `subject ${n}`,
      has_advance: `${n % 2 === 0}`,
    }),
  ),
  contract('formula', {
    ...there,
    subject: dangerous,
    number: '-1+1',
    category: 'tea;=1+1',
    fiscal_year: '2023',
    contract_sum: '12345678901234.56',
  }),
  ...Array.from({ length: 5 }, (_, n) => contract(`elsewhere ${n}`, { region: 'KZ-71' })),
  contract('nowhere', { region: '' }),
]);
await sql('select procurement.run_indicators(false)');
await world.start();

const analyst = await person('anna');
const nobody = await person('noah');
const operator = await person('olga', { operator: true });
const grant = (user: Person, regionCode: string) =>
  sql('insert into procurement.region_grants (user_id, region_code) values ($1, $2)', [user.id, regionCode]);
await grant(analyst, 'KZ-75');

async function asked(input: string, by = analyst): Promise<{ id: string; runId: string; finishedAt: string | null }> {
  const { data, errors } = await ask(
    `mutation { requestContractExport(input: {${input}}) { export { id runId finishedAt } } }`,
    {},
    by.token,
  );
  if (errors) throw new Error(JSON.stringify(errors));
  return data.requestContractExport.export;
}
const linkOf = (id: string, by = analyst) =>
  ask(`mutation { createExportLink(input: {id: "${id}"}) { exportLink { path } } }`, {}, by.token);
const get = (at: string) => fetch(`${server.url.replace(/\/$/, '')}${at}`);
async function download(id: string, by = analyst): Promise<{ bytes: Buffer; type: string | null }> {
  const { data } = await linkOf(id, by);
  const response = await get(data.createExportLink.exportLink.path);
  t.equal(response.status, 200);
  return { bytes: Buffer.from(await response.arrayBuffer()), type: response.headers.get('content-type') };
}
async function made(input: string, by = analyst) {
  const { id, runId } = await asked(input, by);
  const run = await ended(runId);
  t.equal(run.state, 'succeeded', run.error);
  return { id, run, ...(await download(id, by)) };
}
const rowsOf = (bytes: Buffer): Record<string, string>[] =>
  parse(gunzipSync(bytes).toString(), { bom: true, columns: true });

t.test('D4, D6: a workbook of what an analyst may see: typed, with its filters, and with what it is of', async (t) => {
  const { bytes, type, run } = await made('fiscalYear: 2024, regionCode: "KZ-75"');
  t.equal(type, 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet');
  t.equal(run.result.rows, 2500);
  t.equal(run.asked_by, analyst.id, 'so that its user may follow it (runEvents), and cancel it');
  const { sheets } = await readXlsx(new Uint8Array(bytes), { readStyles: true });
  t.strictSame(
    sheets.map(({ name }) => name),
    ['Contracts', 'About'],
  );
  const [contracts, about] = sheets as [(typeof sheets)[0], (typeof sheets)[0]];
  const [names = [], ...rows] = contracts.rows;
  t.equal(rows.length, 2500);
  const of = (name: string) => names.indexOf(name);
  const first = rows.find((row) => row[of('Ref')] === 'there 7') ?? [];
  t.match(
    Object.fromEntries(names.map((name, index) => [`${name}`, first[index]])),
    {
      'Customer bin': '000740000001',
      'Customer name': 'ТОО "Заказчик"',
      'Signed on': new Date('2024-03-01T00:00:00Z'),
      'Plan sum': 1000,
      'Contract sum': 500.07,
      'Fiscal year': 2024,
      'Has advance': false,
      'Flagged by': 'super_dumping',
    },
    'dates are dates, sums are numbers, BINs keep their zeros',
  );
  const [{ sum }] = (await sql(
    "select sum(contract_sum)::text as sum from procurement.contracts where region_code = 'KZ-75' and fiscal_year = 2024",
  )) as [{ sum: string }];
  const total = rows.reduce((before, row) => before + Number(row[of('Contract sum')]), 0);
  t.equal(total.toFixed(2), Number(sum).toFixed(2), 'the sums are those of the database');
  t.equal(contracts.freezePane?.rows, 1);
  t.match(contracts.autoFilter?.range, /^A1:[A-Z]+2501$/);
  t.ok(contracts.cells?.get('0,0')?.style?.font?.bold, 'the names stand out');
  const said = Object.fromEntries(about.rows.map(([name, value]) => [`${name}`, `${value}`]));
  t.match(said, {
    What: 'contracts',
    Rows: '2500',
    'Asked for by': 'anna',
    'fiscal year': '2024',
    'region code': 'KZ-75',
  });
  t.match(said['Made at'], /^\d{4}-\d\d-\d\dT/);
});

t.test('D14: text that a spreadsheet would take for a formula is text, and JSON has all digits', async (t) => {
  const sheet = await made('fiscalYear: 2023');
  const { sheets } = await readXlsx(new Uint8Array(sheet.bytes), { readStyles: true });
  const [names = [], row = []] = sheets[0]?.rows ?? [];
  const at = names.indexOf('Subject');
  t.equal(row[at], dangerous);
  t.equal(sheets[0]?.cells?.get(`1,${at}`)?.formula, undefined);
  const csv = await made('fiscalYear: 2023, format: CSV');
  t.equal(csv.type, 'application/gzip');
  t.match(rowsOf(csv.bytes), [
    {
      subject: `'${dangerous}`,
      number: "'-1+1",
      category: "tea;'=1+1",
      contract_sum: '12345678901234.56',
      has_advance: 'false',
    },
  ]);
  const lines = await made('fiscalYear: 2023, format: JSONL');
  const text = gunzipSync(lines.bytes).toString();
  t.match(text, /"contract_sum":12345678901234\.56[,}]/);
  t.match(JSON.parse(text), { ref: 'formula', subject: dangerous, has_advance: false, version: 1 });
});

t.test('D6: regions hold in exports: who was granted none gets none, and who runs the place gets all', async (t) => {
  await t.rejects(asked('format: CSV', nobody), /no region.*FORBIDDEN/);
  const all = rowsOf((await made('format: CSV', operator)).bytes);
  t.equal(all.length, 2507);
  t.equal(new Set(all.map(({ region }) => region)).size, 3);
  const seen = rowsOf((await made('kind: FINDINGS, format: CSV, indicatorCode: "super_dumping"')).bytes);
  const [{ count }] = (await sql(
    "select count(*)::int from procurement.findings where indicator_code = 'super_dumping' and region_codes = '{KZ-75}'",
  )) as [{ count: number }];
  t.equal(seen.length, count);
  t.ok(seen.every(({ regions, indicator }) => regions === 'KZ-75' && indicator === 'super_dumping'));
  const anonymous = await ask('mutation { requestContractExport(input: {}) { export { id } } }');
  t.equal(anonymous.errors?.[0]?.extensions?.code, 'FORBIDDEN');
});

t.test('D6: who runs the place no longer has no export of all regions any more', async (t) => {
  const former = await person('former', { operator: true });
  const { id } = await made('format: CSV, fiscalYear: 2023', former);
  await sql('update identity.accounts set is_operator = false where user_id = $1', [former.id]);
  t.strictSame(await sql('select from accounts.exports where id = $1', [id]), []);
});

t.test('D4: the end is told by notification and by Telegram, with a link that expires', async (t) => {
  const bot = await world.connect('botowner');
  const { data } = await ask('mutation { createLinkCode { linkCode { code } } }', {}, analyst.token);
  await post(bot, writes(606, `/connect ${data.createLinkCode.linkCode.code}`));
  await eventually('they are linked', async () => telegram.shown.some(({ text }) => /You are connected/.test(text)));
  const { id, runId } = await asked('fiscalYear: 2023, format: CSV, nonce: "told"');
  await ended(runId);
  const told = await eventually('Telegram shows it', async () =>
    telegram.shown.find(({ chat, text }) => chat === '606' && /is ready/.test(text)),
  );
  t.match(
    told.text,
    /^Your export of contracts \(1 rows, csv\) is ready\. Until .* UTC it is at https:\/\/plinth\.test\/exports\/[0-9a-f]{64}$/,
  );
  const at = /\/exports\/\S+$/.exec(told.text)?.[0] ?? '';
  t.equal((await get(at)).status, 200);
  const { data: mine } = await ask('{ notifications(first: 1) { nodes { type title text data } } }', {}, analyst.token);
  t.match(mine.notifications.nodes, [{ title: 'Your export is ready', data: { export_id: id, path: at } }]);
  await sql("update accounts.export_links set expires_at = now() - interval '1 second' where export_id = $1", [id]);
  t.equal((await get(at)).status, 404, 'a day later');

  await sql("update jobs.tasks set max_attempts = 1 where name = 'export_contracts'");
  await sql(
    "create function procurement.broken() returns trigger language plpgsql as $$ begin raise 'the disk is full'; end $$",
  );
  await sql(
    'create trigger broken before update of file on accounts.exports for each row execute function procurement.broken()',
  );
  const failed = await asked('fiscalYear: 2022');
  t.equal((await ended(failed.runId)).state, 'failed');
  await sql('drop function procurement.broken cascade');
  await sql("update jobs.tasks set max_attempts = 4 where name = 'export_contracts'");
  await eventually('Telegram shows that it failed', async () =>
    telegram.shown.find(({ chat, text }) => chat === '606' && /could not be made/.test(text)),
  );
  const { data: after } = await ask('{ notifications(first: 1) { nodes { title data } } }', {}, analyst.token);
  t.match(after.notifications.nodes, [{ title: 'Your export failed', data: { export_id: failed.id } }]);
});

t.test('asked twice, it is made once', async (t) => {
  await sql("select jobs.pause('export_contracts')");
  const twice = await Promise.all([asked('regionCode: "KZ-75"'), asked('regionCode: "KZ-75"')]);
  t.equal(twice[0]?.id, twice[1]?.id, 'while it is being made');
  const other = await asked('regionCode: "KZ-71"');
  t.not(other.id, twice[0]?.id, 'another is another');
  await sql("select jobs.resume('export_contracts')");
  const first = await asked('nonce: "once", fiscalYear: 2023');
  await ended(first.runId);
  t.equal((await asked('nonce: "once", fiscalYear: 2023')).id, first.id, 'by its name also when it is done');
  const anew = await asked('fiscalYear: 2023');
  t.not(anew.id, first.id, 'without a name it is made anew');
  // The first, too, which a worker may have taken and given back before it knew of the pause.
  for (const { runId } of [...twice, other, anew]) await ended(runId);
});

t.test('what runs can be cancelled', async (t) => {
  const holder = new pg.Client({ connectionString: world.databaseUrl });
  await holder.connect();
  await holder.query('begin; lock table procurement.contracts in access exclusive mode');
  try {
    const { id, runId } = await asked('category: "held up"');
    await ended(runId, ['running']);
    const { errors } = await ask(
      `mutation { cancel(input: {runId: "${runId}"}) { run { state } } }`,
      {},
      analyst.token,
    );
    t.notOk(errors);
    t.equal((await ended(runId)).state, 'cancelled');
    t.equal((await linkOf(id)).errors?.[0]?.extensions?.code, 'NOT_FOUND');
  } finally {
    await holder.end();
  }
});

t.test(
  'what is cancelled when its file is made already is cancelled, and nobody is told that it is there',
  async (t) => {
    const holder = new pg.Client({ connectionString: world.databaseUrl });
    await holder.connect();
    await sql("select jobs.pause('export_contracts')");
    const { id, runId } = await asked('fiscalYear: 2023, format: CSV, nonce: "too late"');
    // Its file is written, and it waits to say so.
    await holder.query('begin');
    await holder.query('select from accounts.exports where id = $1 for update', [id]);
    await sql("select jobs.resume('export_contracts')");
    try {
      await eventually('it waits', async () => {
        const waiting = await sql(
          "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query ~ '_export_made'",
        );
        return waiting.length > 0;
      });
      const { errors } = await ask(
        `mutation { cancel(input: {runId: "${runId}"}) { run { state } } }`,
        {},
        analyst.token,
      );
      t.notOk(errors);
    } finally {
      await holder.end();
    }
    t.equal((await ended(runId)).state, 'cancelled');
    t.equal((await linkOf(id)).errors?.[0]?.extensions?.code, 'NOT_FOUND');
    const { data } = await ask('{ notifications(first: 20) { nodes { data } } }', {}, analyst.token);
    t.notOk(data.notifications.nodes.some((each: { data: { export_id?: string } }) => each.data.export_id === id));
  },
);

t.test('old files go, and what a user may see no longer', async (t) => {
  const late = await made('fiscalYear: 2023, format: CSV, nonce: "late"');
  const kept = await made('fiscalYear: 2023, format: CSV, nonce: "kept"');
  const files = async () => (await readdir(path.join(folder, 'exports'))).map((name) => name.slice(0, 36));
  await sql("update accounts.exports set expires_at = now() - interval '1 second' where id = $1", [late.id]);
  const prune = async () => {
    const [{ id }] = (await sql("select (jobs.enqueue('prune_exports')).id")) as [{ id: string }];
    await ended(id);
  };
  await prune();
  t.notOk((await files()).includes(late.id));
  t.ok((await files()).includes(kept.id));
  const { data } = await linkOf(kept.id);
  await ask(
    `mutation { revokeRegion(input: {userId: "${analyst.id}", regionCode: "KZ-75"}) { __typename } }`,
    {},
    operator.token,
  );
  t.equal((await get(data.createExportLink.exportLink.path)).status, 404, 'with the region');
  await prune();
  t.notOk((await files()).includes(kept.id));
  t.equal((await owner.query('select from accounts.exports where user_id = $1', [analyst.id])).rowCount, 0);
});
