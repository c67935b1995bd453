import { writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { openBarrier } from '../barrier.ts';
import { launch, runScript, temporaryFolder } from '../running-plinth.ts';
import { query } from '../scratch-database.ts';
import { openWorld } from '../world.ts';
import { contract, payment, take } from './sample.ts';

const world = await openWorld(t);
const DATABASE_URL = world.databaseUrl;
t.beforeEach(async () => {
  await world.owner.query(
    'truncate procurement.contracts, procurement.payments, procurement.companies, procurement.imports, procurement.rejects cascade',
  );
});

const mapping = {
  source: { code: 'sample', name: 'A sample' },
  csv: { delimiter: ';' },
  missing: ['-'],
  dates: 'DD-MM-YYYY',
  decimal: ',',
  records: [
    {
      kind: 'contract',
      fields: {
        ref: '{Nr}',
        type: 'standard',
        status: '{Status}',
        region: 'KZ-{Region}',
        signed_on: '{Signed}',
        customer_bin: '{Customer}',
        customer_name: '{Customer name}',
        supplier_bin: '{Supplier}',
        plan_sum: '{Plan}',
        contract_sum: '{Sum}',
      },
    },
  ],
};
const header = 'Nr;Status;Region;Signed;Customer;Customer name;Supplier;Plan;Sum';
const row = (
  nr: string,
  { status = '190', signed = '31.01.2024', customer = '000740000001', plan = '100,50', sum = '90' } = {},
) => `${nr};${status};75;${signed};${customer};"ТОО ""Заказчик""";010840000002;${plan};${sum}`;

/** A folder with a mapping and a file of these rows. */
function files(t: Parameters<typeof temporaryFolder>[0], rows: string[], head = header) {
  const folder = temporaryFolder(t);
  writeFileSync(path.join(folder, 'mapping.json'), JSON.stringify(mapping));
  writeFileSync(path.join(folder, 'contracts.csv'), `\uFEFF${[head, ...rows].join('\r\n')}\r\n`);
  return { folder, args: ['csv', path.join(folder, 'mapping.json'), path.join(folder, 'contracts.csv')] };
}

t.test('a file is taken in by its mapping, and a second time adds nothing', async (t) => {
  const { folder, args } = files(t, [row('1'), row('2', { plan: '-' }), row('3', { signed: '2.3.2023' })]);
  const first = await runScript('import', args, { DATABASE_URL }, folder);
  t.match(first, { status: 0, stdout: /^contracts\.csv: 3 rows; records: 3 new, 0 changed, 0 known, 0 rejected/m });
  t.strictSame(
    await query(
      DATABASE_URL,
      `select source_ref, fiscal_year, signed_on::text, customer_bin, plan_sum, contract_sum, region_code, tableoid::regclass::text as partition
       from procurement.contracts order by source_ref`,
    ),
    [
      ['1', 2024, '2024-01-31', '100.50'],
      ['2', 2024, '2024-01-31', null],
      ['3', 2023, '2023-03-02', '100.50'],
    ].map(([source_ref, fiscal_year, signed_on, plan_sum]) => ({
      source_ref,
      fiscal_year,
      signed_on,
      customer_bin: '000740000001',
      plan_sum,
      contract_sum: '90',
      region_code: 'KZ-75',
      partition: `procurement.contracts_${fiscal_year}`,
    })),
    'leading zeros count',
  );
  t.strictSame(await query(DATABASE_URL, 'select bin, name from procurement.companies order by bin'), [
    { bin: '000740000001', name: 'ТОО "Заказчик"' },
    { bin: '010840000002', name: null },
  ]);
  const again = await runScript('import', args, { DATABASE_URL }, folder);
  t.match(again.stdout, /records: 0 new, 0 changed, 3 known, 0 rejected/);
  writeFileSync(args[2] as string, `${header}\n${row('1', { sum: '80' })}\n${row('3', { signed: '2.3.2024' })}\n`);
  const changed = await runScript('import', args, { DATABASE_URL }, folder);
  t.match(changed.stdout, /records: 1 new, 1 changed, 0 known|records: 0 new, 2 changed, 0 known/);
  t.strictSame(
    await query(
      DATABASE_URL,
      'select source_ref, fiscal_year, contract_sum from procurement.contracts order by source_ref',
    ),
    [
      { source_ref: '1', fiscal_year: 2024, contract_sum: '80' },
      { source_ref: '2', fiscal_year: 2024, contract_sum: '90' },
      { source_ref: '3', fiscal_year: 2024, contract_sum: '90' },
    ],
    'a contract of another year moves there',
  );
});

t.test('a bad row goes to the rejects with its line and the reason, and stops nothing', async (t) => {
  const { folder, args } = files(t, [
    row('1'),
    'rubbish',
    row('2', { signed: '31.02.2024' }),
    row('3', { sum: 'much' }),
    row('4', { sum: '-5' }),
    row('5', { status: '191' }),
    row('6', { customer: '740000001' }),
    row('7', { sum: '9\0' }),
    row('8').replace('ТОО', 'ТО"О'),
    row('9'),
  ]);
  const { status, stdout } = await runScript('import', args, { DATABASE_URL }, folder);
  t.equal(status, 0);
  t.match(stdout, /records: 2 new, 0 changed, 0 known, 8 rejected/);
  const rejects = await query(
    DATABASE_URL,
    "select line::int, reason, record ->> 'ref' as ref from procurement.rejects order by line",
  );
  t.match(rejects, [
    { line: 3, reason: 'It has 1 columns, not 9.', ref: null },
    { line: 4, reason: 'signed_on: "2024-02-31" is not a date such as 2024-01-31.', ref: '2' },
    { line: 5, reason: 'contract_sum: "much" is not a number.', ref: '3' },
    { line: 6, reason: 'contract_sum is below zero.', ref: '4' },
    { line: 7, reason: 'status: there is no "191".', ref: '5' },
    { line: 8, reason: 'customer_bin: "740000001" is not a BIN of this source.', ref: '6' },
    { line: 9, reason: /NUL/, ref: null },
    { line: 10, ref: null },
  ]);
});

t.test('an import that was killed goes on where it was', async (t) => {
  const rows = Array.from({ length: 9000 }, (_, n) => row(`${n}`));
  const { folder, args } = files(t, [...rows, row('bad', { sum: 'much' })]);
  const barrier = await openBarrier(t, DATABASE_URL, 'procurement.staged_records');
  await barrier.close('exists (select from procurement.imports where position > 0)');
  const { child, ended } = launch('import', args, { DATABASE_URL }, folder);
  const position = async () =>
    (await query(DATABASE_URL, 'select coalesce(max(position), 0)::int as position from procurement.imports'))[0]
      .position;
  await barrier.reached();
  child.kill('SIGKILL');
  await ended;
  await barrier.open();
  const before = await position();
  t.ok(before > 0 && before < 9001, `${before} rows are done`);

  const { status, stdout } = await runScript('import', args, { DATABASE_URL }, folder);
  t.equal(status, 0);
  const [, after] = /goes on after (\d+) rows/.exec(stdout) ?? [];
  t.ok(Number(after) >= before, 'the statement that ran when it was killed may still have been committed');
  const [counts] = await query(
    DATABASE_URL,
    `select (select count(*)::int from procurement.contracts) as contracts, (select count(*)::int from procurement.rejects) as rejects,
       (select count(*)::int from procurement.staged_records) as staged, added::int, rejected::int, position::int, finished_at is not null as finished
     from procurement.imports`,
  );
  t.strictSame(counts, {
    contracts: 9000,
    rejects: 1,
    staged: 0,
    added: 9000,
    rejected: 1,
    position: 9001,
    finished: true,
  });
});

t.test('what it cannot import it refuses', async (t) => {
  const { folder, args } = files(t, [row('1')], header.replace('Sum', 'Total'));
  t.match(await runScript('import', args, { DATABASE_URL }, folder), { status: 1, stderr: /has no column "Sum"/ });
  const none = path.join(folder, 'none.json');
  writeFileSync(none, '{"records": []}');
  t.match(await runScript('import', ['csv', none, args[2] as string], { DATABASE_URL }, folder), {
    status: 1,
    stderr: /none\.json is not a mapping/,
  });
  t.match(await runScript('import', ['csv', none], { DATABASE_URL }, folder), {
    status: 1,
    stderr: /csv MAPPING FILE/,
  });
});

t.test('payments come before their contract, or after it', async (t) => {
  const paid = () => query(DATABASE_URL, 'select first_paid_on::text from procurement.contracts');
  await take(world, [payment('1', '2024-05-05'), payment('1', '2024-03-03', { is_advance: '1' })]);
  await take(world, [contract('1')]);
  t.strictSame(await paid(), [{ first_paid_on: '2024-05-05' }]);
  await take(world, [payment('1', '2024-04-04')]);
  t.strictSame(await paid(), [{ first_paid_on: '2024-04-04' }]);
  await query(DATABASE_URL, "delete from procurement.payments where paid_on = '2024-04-04'");
  t.strictSame(await paid(), [{ first_paid_on: '2024-05-05' }]);
});

t.test('what is paid under a later version is paid for the first one, too, in whatever order they come', async (t) => {
  const paid = () =>
    query(
      DATABASE_URL,
      "select source_ref as ref, first_paid_on::text as on from procurement.contracts where source_ref ~ '^amended' order by 1",
    );
  const later = { root: 'amended', parent: 'amended', version: '2' };
  await take(world, [payment('amended later', '2024-05-05'), contract('amended later', later)]);
  await take(world, [contract('amended')]);
  const both = (on: string) => [
    { ref: 'amended', on },
    { ref: 'amended later', on },
  ];
  t.strictSame(await paid(), both('2024-05-05'), 'the first version comes last');
  await take(world, [payment('amended later', '2024-04-04')]);
  t.strictSame(await paid(), both('2024-04-04'), 'its payment does');
  await take(world, [payment('amended last', '2024-03-03')]);
  await take(world, [contract('amended last', { ...later, version: '3' })]);
  t.match(await paid(), [{ on: '2024-03-03' }, { on: '2024-03-03' }, { on: '2024-04-04' }], 'the later version does');
});
