import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import t from 'tap';
import { fieldOf, listen } from '../events/listen.ts';
import { openPlatformWorld, writes } from '../platforms/platform-world.ts';
import { temporaryFolder } from '../running-plinth.ts';
import { contract, take } from './sample.ts';

// D4: an export while it is made: tried again, followed, cancelled.

const folder = temporaryFolder(t);
const world = await openPlatformWorld(t, {
  BACKUP_STORAGE: folder,
  BACKUP_KEY: randomBytes(32).toString('base64url'),
});
const { ask, ended, eventually, person, post, server, sql, telegram } = world;

// Each has a finding, which the export reads with its row.
const count = 2000;
await take(
  world,
  Array.from({ length: count }, (_, n) => contract(`${n}`, { contract_sum: '500' })),
);
await sql('select procurement.run_indicators(false)');
await world.start();
const analyst = await person('anna');
await sql("insert into procurement.region_grants (user_id, region_code) values ($1, 'KZ-75')", [analyst.id]);

async function asked(input: string): Promise<{ id: string; runId: string }> {
  const { data, errors } = await ask(
    `mutation { requestContractExport(input: {format: CSV, ${input}}) { export { id runId } } }`,
    {},
    analyst.token,
  );
  if (errors) throw new Error(JSON.stringify(errors));
  return data.requestContractExport.export;
}
const cancel = async (runId: string): Promise<string> => {
  const query = `mutation { cancel(input: {runId: "${runId}"}) { run { state } } }`;
  return (await ask(query, {}, analyst.token)).data.cancel.run.state;
};
/** What the user was notified of about an export. */
async function told(id: string): Promise<string[]> {
  const { data } = await ask('{ notifications(first: 50) { nodes { title data } } }', {}, analyst.token);
  const all: { title: string; data: { export_id?: string } }[] = data.notifications.nodes;
  return all.filter((each) => each.data.export_id === id).map(({ title }) => title);
}
const stored = (id: string) =>
  readdir(path.join(folder, 'exports')).then(
    (names) => names.filter((name) => name.startsWith(id)),
    () => [],
  );
const linked = async (id: string): Promise<string | undefined> => {
  const query = `mutation { createExportLink(input: {id: "${id}"}) { exportLink { path } } }`;
  return (await ask(query, {}, analyst.token)).errors?.[0]?.extensions?.code;
};

/** Has something done whenever an export reads the finding of a row, which counting leaves out. Gives what ends that. */
async function slowed(act: string): Promise<() => Promise<unknown>> {
  await sql(`create function procurement.slowed(contract_id uuid) returns boolean language plpgsql stable as
    $$ begin ${act}; return true; end $$`);
  await sql('grant execute on function procurement.slowed to member');
  await sql(`create policy slowed on procurement.findings as restrictive for select to member
    using (procurement.slowed(contract_id))`);
  return () => sql('drop function procurement.slowed cascade');
}

t.test('D4: who is linked to Telegram', async (t) => {
  const bot = await world.connect('botowner');
  const { data } = await ask('mutation { createLinkCode { linkCode { code } } }', {}, analyst.token);
  await post(bot, writes(707, `/connect ${data.createLinkCode.linkCode.code}`));
  t.ok(
    await eventually('they are linked', async () => telegram.shown.some(({ text }) => /You are connected/.test(text))),
  );
});

const faults = [
  {
    when: 'before its file was said to be made',
    trigger: 'before update of file on accounts.exports for each row',
    attempt: '(select run.attempt from jobs.runs as run where run.id = new.run_id)',
    result: { rows: count },
  },
  {
    when: 'after its user was told',
    trigger: `before update of state on jobs.runs for each row
      when (new.state = 'succeeded' and new.task = 'export_contracts')`,
    attempt: 'new.attempt',
    result: { state: /^done before/ },
  },
];
for (const { when, trigger, attempt, result } of faults)
  t.test(`D4: one that fails once, ${when}, is tried again, and its user is told once that it is ready`, async (t) => {
    await sql(`create function procurement.broken() returns trigger language plpgsql as $$ begin
      if ${attempt} = 1 then raise 'the disk is full'; end if; return new; end $$`);
    await sql(`create trigger broken ${trigger} execute function procurement.broken()`);
    const before = telegram.shown.length;
    const { id, runId } = await asked(`nonce: "${when}"`);
    const run = await ended(runId);
    await sql('drop function procurement.broken cascade');
    t.match(run, { state: 'succeeded', attempt: 2, result });
    t.match(run.error, /the disk is full/, 'it says what the try before came to');
    t.strictSame(await told(id), ['Your export is ready']);
    // What is asked for later is told later: then all of this one has been shown.
    const later = await asked('fiscalYear: 1999');
    await ended(later.runId);
    const since = () => telegram.shown.slice(before).map(({ text }) => /\((\d+) rows, csv\) is ready/.exec(text)?.[1]);
    await eventually('Telegram shows it', async () => since().includes('0'));
    t.strictSame(since(), [`${count}`, '0']);
    t.equal((await stored(id)).length, 1);
  });

t.test('D4: who follows its run sees the progress rise to 1, and its end', async (t) => {
  const quick = await slowed('perform pg_sleep(0.002)');
  const { id, runId } = await asked('nonce: "followed"');
  const ear = listen(t, server.url, {
    query: `subscription ($id: UUID!) { runEvents(runId: $id, after: "0") { event { type } run { state progress note } } }`,
    variables: { id: runId },
    token: analyst.token,
  });
  const heard: { event: { type: string }; run: { state: string; progress: number; note: string | null } }[] = [];
  while (heard.at(-1)?.run.state !== 'SUCCEEDED') heard.push(fieldOf(await ear.next()));
  await quick();
  const shares = heard.map(({ run }) => run.progress);
  t.strictSame(
    shares,
    shares.toSorted((one, other) => one - other),
    'it never falls',
  );
  const between = heard.filter(({ run }) => run.progress > 0 && run.progress < 1);
  t.ok(new Set(between.map(({ run }) => run.progress)).size > 1, shares.join());
  for (const { run } of between) t.equal(run.note, `${Math.round(run.progress * count)} of ${count} rows`);
  t.match(heard.at(-1), { event: { type: 'run_succeeded' }, run: { progress: 1 } });
  t.equal(await linked(id), undefined, 'then it is there');
});

t.test('D4: cancelled while its rows are fetched and written, nothing is left of it and nobody is told', async (t) => {
  const holder = new pg.Client({ connectionString: world.databaseUrl });
  await holder.connect();
  await holder.query('select pg_advisory_lock(606)');
  const [row] = await sql(
    'select id from procurement.contracts order by fiscal_year, signed_on, id offset 500 limit 1',
  );
  const free = await slowed(`if contract_id = '${row?.id}' then perform pg_advisory_xact_lock_shared(606); end if`);
  try {
    const { id, runId } = await asked('nonce: "stopped"');
    const fetching = async (what: string) =>
      (
        await world.owner.query(
          `select from pg_stat_activity where datname = current_database() and query ~ '^fetch ' and ${what}`,
        )
      ).rowCount;
    await eventually('it has written rows, and fetches more', () => fetching("wait_event = 'advisory'"));
    await eventually('and told of it', async () => {
      const [run] = await sql('select state, progress from jobs.runs where id = $1', [runId]);
      return run?.state === 'running' && run.progress > 0;
    });
    t.match(await stored(id), [/partial$/], 'its file is being written');
    await cancel(runId);
    t.equal((await ended(runId)).state, 'cancelled');
    t.strictSame(await stored(id), []);
    t.strictSame(await told(id), []);
    t.equal(await linked(id), 'NOT_FOUND');
    t.equal(await fetching("state = 'active'"), 0, 'nothing is read any more');
  } finally {
    await holder.end();
    await free();
  }
});

t.test('D4: cancelled while it waits, it never begins; asked for again, it is another', async (t) => {
  await sql("select jobs.pause('export_contracts')");
  const { id, runId } = await asked('fiscalYear: 2024');
  t.equal(await cancel(runId), 'CANCELLED', 'at once');
  const other = await asked('fiscalYear: 2024');
  t.not(other.id, id);
  await sql("select jobs.resume('export_contracts')");
  t.equal((await ended(other.runId)).state, 'succeeded');
  t.match(await ended(runId), { state: 'cancelled', attempt: 0, started_at: null });
  t.strictSame(await stored(id), []);
  t.strictSame(await told(id), []);
  t.strictSame(await told(other.id), ['Your export is ready']);
  t.equal(await linked(id), 'NOT_FOUND');
});
