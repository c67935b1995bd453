import t from 'tap';
import type { StagedRecord } from '../../functions/contract-imports.ts';
import { until } from '../events/listen.ts';
import { openAnalysis } from './analysis.ts';
import { contract, take } from './sample.ts';

// Whatever has changed, a run on that leaves the findings that a run on everything would.

const { world, run } = await openAnalysis(t);

// The same changes each time: numbers from a linear congruential generator.
let state = 20261121;
const below = (limit: number) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * limit);
};
const pick = <Value>(values: Value[]) => values[below(values.length)] as Value;
const bin = (n: number) => `${n}`.padStart(12, '0');

const change = (ref: number): StagedRecord =>
  contract(`${ref}`, {
    category: pick(['roads', 'bridges', 'schools', '']),
    customer_bin: bin(below(3)),
    supplier_bin: bin(10 + below(6)),
    region: pick(['KZ-71', 'KZ-75']),
    status: pick(['190', '190', '190', '350']),
    contract_sum: `${below(10) === 0 ? 100_000 + below(900_000) : 500 + below(400)}`,
    plan_sum: '1000',
  });
const move = (): StagedRecord => ({
  kind: 'company',
  record: { bin: bin(10 + below(6)), address: pick(['Abay 1', 'Abay 2', 'Abay 3']), head: pick(['Omarov', 'Serik']) },
});
// The last digits of an average go by the order in which rows are read.
const rounded = (_: string, value: unknown) => (typeof value === 'number' ? Number(value.toPrecision(9)) : value);
const findings = async () => {
  const { rows } = await world.owner.query(
    `select indicator_code, contract_id, customer_bin, supplier_bin, region_codes, outcome, value, inputs
     from procurement.findings order by indicator_code, contract_id, customer_bin, supplier_bin`,
  );
  return JSON.parse(JSON.stringify(rows, rounded)) as typeof rows;
};

t.test('D3: few are judged again with all that they are compared with', async (t) => {
  await world.owner.query(
    `update procurement.indicators set thresholds = thresholds || '{"contracts": 5}' where thresholds ? 'contracts'`,
  );
  await take(
    world,
    Array.from({ length: 60 }, (_, n) => change(n)),
  );
  await run(false);
  const seen = new Set<string>();
  for (let round = 0; round < 15; round += 1) {
    await take(world, [
      ...Array.from({ length: below(4) }, () => change(below(70))),
      ...Array.from({ length: below(2) }, move),
    ]);
    if (round % 5 === 4) {
      await world.owner.query('delete from procurement.contracts where source_ref = $1', [`${below(60)}`]);
    }
    await run(true);
    const few = await findings();
    for (const { indicator_code } of few) seen.add(indicator_code);
    await run(false);
    t.strictSame(few, await findings(), `round ${round}`);
  }
  for (const code of ['sum_outlier', 'sum_fences', 'supplier_concentration', 'benford', 'shared_contacts']) {
    t.ok(seen.has(code), `${code} had something to find`);
  }
});

t.test('D3: what is taken away while a run goes on is looked at by the next', async (t) => {
  const [slow, quick, holder] = await Promise.all([1, 2, 3].map(() => world.owner.connect()));
  t.teardown(() => [slow, quick, holder].forEach((client) => void client?.release()));
  const remove = (ref: number) => `delete from procurement.contracts where source_ref = '${ref}'`;
  await take(
    world,
    [1, 2].map((ref) => contract(`${ref}`, { customer_bin: bin(0), contract_sum: '500' })),
  );
  await run(false);
  await slow?.query('begin');
  await slow?.query(remove(1));
  await quick?.query(remove(2));
  // The run has read what has changed when it comes to this row.
  await holder?.query('begin');
  await holder?.query('select from procurement.indicator_states order by indicator_code limit 1 for update');
  const running = run(true);
  const waits = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
  await until(async () => (await world.owner.query(waits)).rowCount === 1, 'That the run waits');
  await slow?.query('commit');
  await holder?.query('commit');
  await running;
  await run(true);
  const few = await findings();
  await run(false);
  t.strictSame(few, await findings());
});

t.test('D3: an indicator that is switched on again judges everything', async (t) => {
  const turn = (isOn: boolean) =>
    world.owner.query("update procurement.indicators set is_on = $1 where code = 'super_dumping'", [isOn]);
  await take(world, [contract('3', { contract_sum: '500' })]);
  await run(true);
  await turn(false);
  await world.owner.query("delete from procurement.contracts where source_ref = '3'");
  await run(true);
  await turn(true);
  await run(true);
  const few = await findings();
  await run(false);
  t.strictSame(few, await findings());
});

t.test('D3: numbers of transactions that another cluster has given make nothing new for ever', async (t) => {
  const { owner } = world;
  await run(true);
  // As after a restore into a cluster that has counted less far.
  await owner.query(
    `begin; set local session_replication_role = replica;
     update procurement.contracts set changed_xid = '99999999999', pair_changed_xid = '99999999999';
     insert into procurement.departures (root_id, xid) select id, '99999999999' from procurement.contracts limit 5;
     update procurement.indicator_states set mark = 'another';
     commit`,
  );
  await run(true);
  t.strictSame((await owner.query('select from procurement.departures')).rowCount, 0, 'all was judged');
  await run(true);
  const judged = `select sum(flagged + clear + not_computable)::integer as judged from procurement.indicator_results
    where run_id = (select max(id) from procurement.indicator_runs)`;
  t.equal((await owner.query(judged)).rows[0].judged, 0, 'and nothing is new');
});
