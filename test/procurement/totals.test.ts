import t from 'tap';
import { openAnalysis } from './analysis.ts';
import { contract, payment, take } from './sample.ts';

// D5: statistics are what the contracts add up to: for those who see all of them, and for those who see some.

const { world, operator, ask, run } = await openAnalysis(t);
const analyst = await world.person('anna');

const sums = (n: number) => ({
  plan_sum: n % 7 === 0 ? '' : `${1000 + n / 8}`,
  contract_sum: n % 5 === 0 ? '' : `${n % 4 === 0 ? 600 : 950}.${n % 10}1`,
  actual_sum: n % 3 === 0 ? `${n}.05` : '',
  plan_sum_vat: n % 2 === 0 ? `${1120 + n}` : '',
  contract_sum_vat: n % 5 === 0 ? '1100.07' : '',
  actual_sum_vat: n % 6 === 0 ? '12345678901234.56' : '',
});
// Each region, year, category, type and status with each other.
const every = ['KZ-75', 'KZ-71', ''].flatMap((region) =>
  ['2023', '2024'].flatMap((fiscal_year) =>
    ['roads', 'schools', 'bridges', ''].flatMap((category) =>
      ['annual', 'standard', 'multi_year'].flatMap((type) =>
        ['190', '390', '350', '450'].map((status) => ({ region, fiscal_year, category, type, status })),
      ),
    ),
  ),
);
await take(world, [
  ...every.map((fields, n) => contract(`${n}`, { ...fields, ...sums(n) })),
  // Versions are no contracts of their own.
  ...[1, 2, 3].map((n) => contract(`${n} again`, { root: `${n}`, parent: `${n}`, version: '2', contract_sum: '5000' })),
  // Flagged beside others of two regions: who sees one of these is not told.
  contract('outlier', { category: 'roads', contract_sum: '99000000', plan_sum: '99000001' }),
  payment('4', '2024-03-02'),
]);
await run(false);
await world.owner.query('insert into procurement.region_grants (user_id, region_code) values ($1, $2)', [
  analyst.id,
  'KZ-75',
]);

const fields = 'key contracts planSum contractSum actualSum planSumVat contractSumVat actualSumVat flagged';
const columns: Record<string, string> = {
  YEAR: 'fiscal_year',
  REGION: 'region_code',
  CATEGORY: 'category',
  STATUS: 'status_code',
  TYPE: 'type_code',
};
/** The same added up row by row: contracts without versions, of types and in statuses that are analysed. */
const plainly = (column: string) => `
  select ${column}::text as key, count(*)::text as contracts, sum(plan_sum)::text as "planSum",
    sum(contract_sum)::text as "contractSum", sum(actual_sum)::text as "actualSum",
    sum(plan_sum_vat)::text as "planSumVat", sum(contract_sum_vat)::text as "contractSumVat",
    sum(actual_sum_vat)::text as "actualSumVat",
    sum((exists (
      select from procurement.findings
      where contract_id = contracts.id and outcome = 'flagged' and ($3::text is null or region_codes = array[$3])
    ))::integer)::text as flagged
  from procurement.contracts
  where root_id = id and status_code in (190, 390, 450) and type_code in ('annual', 'standard')
    and ($1::integer is null or fiscal_year = $1) and ($2::text is null or region_code = $2)
    and ($3::text is null or region_code = $3)
  group by 1 order by 1`;

const callers = [
  { name: 'an operator', token: operator.token, region: null },
  { name: 'an analyst of one region', token: analyst.token, region: 'KZ-75' },
];
for (const { name, token, region } of callers)
  for (const [by, column] of Object.entries(columns))
    t.test(`D5: totals by ${by} are the sums of what ${name} sees, whatever they are asked of`, async (t) => {
      for (const fiscalYear of [null, 2023, 2024, 1999])
        for (const regionCode of [null, 'KZ-75', 'KZ-71']) {
          const { contractTotals } = await ask(
            `query ($by: TotalKey, $fiscalYear: Int, $regionCode: String) {
               contractTotals(by: $by, fiscalYear: $fiscalYear, regionCode: $regionCode) { ${fields} } }`,
            { by, fiscalYear, regionCode },
            token,
          );
          const { rows } = await world.owner.query(plainly(column), [fiscalYear, regionCode, region]);
          t.strictSame(contractTotals, rows, `of ${fiscalYear ?? 'all years'} in ${regionCode ?? 'all regions'}`);
          const isNothing = fiscalYear === 1999 || (region !== null && regionCode === 'KZ-71');
          t.equal(contractTotals.length === 0, isNothing);
        }
    });

t.test('D5: what an analyst is told of other regions flags no contract of theirs', async (t) => {
  const flagged = async (token: string): Promise<number> => {
    const { contractTotals } = await ask('{ contractTotals(by: REGION, regionCode: "KZ-75") { flagged } }', {}, token);
    return Number(contractTotals[0].flagged);
  };
  const [all, some] = [await flagged(operator.token), await flagged(analyst.token)];
  t.ok(some > 0);
  t.equal(all - some, 1, 'the outlier');
});
