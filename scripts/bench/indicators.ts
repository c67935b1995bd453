import type pg from 'pg';
import { Refusal } from '../../functions/refusal.ts';
import { type Ground, type Report, runFile } from './ground.ts';
import { median, rounded } from './rounds.ts';

const size = { full: 5_000_000, quick: 100_000 };
const changed = 1_000;
const rounds = 3;

// What everything is compared with: one aggregate over the contracts with their payments and versions, as plain as it can be.
const aggregate = `select contract.customer_bin, count(*), sum(contract.plan_sum), sum(contract.contract_sum), min(payment.paid_on), sum(payment.paid_sum)
  from procurement.contracts as contract left join procurement.payments as payment on payment.contract_id = contract.id
  group by contract.customer_bin`;

/**
 * What the six indicators cost over millions of contracts: all of them on everything against one aggregate over the same tables, and on
 * 1,000 contracts that have changed, a sum alone or who the supplier is. Each planted case must be found, and no other. Then the same with
 * every indicator that is on by default: what compares contracts with each other finds cases that nobody planted.
 *
 * @throws Refusal where an indicator misses a case, or finds one that was not planted.
 */
export async function benchIndicators({ owner }: Ground, quick: boolean, report: Report) {
  const began = performance.now();
  await owner.query("select set_config('bench.size', $1, false)", [`${quick ? size.quick : size.full}`]);
  await runFile(owner, 'contracts.sql');
  await owner.query(`
    create temp table by_default as select code from procurement.indicators where is_on;
    update procurement.indicators set is_on = code in (select indicator from plant)`);
  await owner.query('vacuum analyze');
  const { rows } = await owner.query<{ contracts: string; payments: string }>(
    'select (select count(*) from procurement.contracts) as contracts, (select count(*) from procurement.payments) as payments',
  );
  const { contracts, payments } = rows[0] as (typeof rows)[number];
  report(`${contracts} contracts and versions, ${payments} payments, ${rounded((performance.now() - began) / 1000)} s`);

  await owner.query("set work_mem = '128MB'; set jit = off");
  const plain = await fastest(() => owner.query(aggregate));
  const full = await fastest(() => owner.query('select procurement.run_indicators(false)'));
  await checkFound(owner);
  const { rows: each } = await owner.query<{ indicator_code: string; flagged: string; seconds: number }>(
    'select indicator_code, flagged, seconds from procurement.indicator_results where run_id = (select max(id) from procurement.indicator_runs) order by 1',
  );
  const onFew = async (change: string, round = 0): Promise<number> => {
    await owner.query(
      `update procurement.contracts set ${change}
       where id in (select md5('bench:contract:' || (n * 4801 + $1::integer) % $2::integer + 1)::uuid from generate_series(1, $3::integer) as n)`,
      [round * 7, quick ? size.quick : size.full, changed],
    );
    return timed(() => owner.query('select procurement.run_indicators(true)'));
  };
  const sums: number[] = [];
  for (let round = 0; round < rounds; round += 1) sums.push(await onFew('actual_sum = actual_sum + 0.01', round));
  // The next one, and back; couples stay together.
  const suppliers: number[] = [];
  const count = (quick ? size.quick : size.full) / 25;
  for (const step of [1, count - 1]) {
    const next = `lpad(((supplier_bin::bigint + ${step}) % ${count})::text, 12, '0')`;
    suppliers.push(await onFew(`supplier_bin = case when supplier_bin < '9' then ${next} else supplier_bin end`));
  }
  await checkFound(owner);
  await owner.query('update procurement.indicators set is_on = true where code in (select code from by_default)');
  const everyOne = await timed(() => owner.query('select procurement.run_indicators(false)'));
  const everyOneOnFew = await onFew('actual_sum = actual_sum + 0.01', rounds);
  return [
    { case: 'one aggregate over contracts and payments', seconds: rounded(plain), 'of the aggregate': 1, flagged: '' },
    ...each.map(({ indicator_code, flagged, seconds }) => ({
      case: `  ${indicator_code}`,
      seconds: rounded(seconds),
      'of the aggregate': rounded(seconds / plain),
      flagged,
    })),
    {
      case: 'all indicators on everything',
      seconds: rounded(full),
      'of the aggregate': rounded(full / plain),
      flagged: '',
    },
    ...Object.entries({
      [`all on ${changed} contracts with another sum`]: median(sums),
      [`all on ${changed} contracts with another supplier`]: Math.max(...suppliers),
      'every one that is on by default on everything': everyOne,
      [`every one on ${changed} contracts with another sum`]: everyOneOnFew,
    }).map(([name, seconds]) => ({
      case: name,
      seconds: rounded(seconds),
      'of the aggregate': rounded(seconds / plain),
      flagged: '',
    })),
  ];
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return (performance.now() - began) / 1000;
}

async function fastest(work: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round += 1) times.push(await timed(work));
  return Math.min(...times);
}

async function checkFound(owner: pg.ClientBase): Promise<void> {
  const { rows } = await owner.query<{ indicator: string; planted: string; missed: string; wrong: string }>(`
    with found as (
      select finding.indicator_code as indicator, coalesce(contract.source_ref, finding.customer_bin) as ref
      from procurement.findings as finding
      left join procurement.contracts as contract on contract.id = finding.contract_id and contract.fiscal_year = finding.fiscal_year
      where finding.outcome = 'flagged'
    )
    select coalesce(plant.indicator, found.indicator) as indicator, count(plant.ref) as planted,
      count(*) filter (where found.ref is null) as missed, count(*) filter (where plant.ref is null) as wrong
    from plant full join found on found.indicator = plant.indicator and found.ref = plant.ref
    group by 1`);
  const bad = rows.filter(({ missed, wrong }) => Number(missed) + Number(wrong) > 0);
  if (rows.length === 6 && bad.length === 0) return;
  const told = bad.map(
    ({ indicator, planted, missed, wrong }) => `${indicator}: ${missed} of ${planted} missed, ${wrong} too many`,
  );
  throw new Refusal(
    `The indicators do not find what was planted: ${told.join('; ') || `${rows.length} of 6 found any`}.`,
  );
}
