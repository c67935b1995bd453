import { writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { runScript, temporaryFolder } from '../running-plinth.ts';
import { query } from '../scratch-database.ts';
import { openWorld } from '../world.ts';

// D1: contracts from releases and records of the Open Contracting Data Standard.

const world = await openWorld(t);
const DATABASE_URL = world.databaseUrl;
const folder = temporaryFolder(t);
t.beforeEach(() =>
  world.owner.query(
    'truncate procurement.contracts, procurement.contract_units, procurement.payments, procurement.companies, procurement.imports, procurement.rejects cascade',
  ),
);
async function take(name: string, content: string) {
  writeFileSync(path.join(folder, name), content);
  const ended = await runScript('import', ['ocds', 'ocds-test', name], { DATABASE_URL }, folder);
  t.equal(ended.status, 0, ended.stderr);
  return ended.stdout;
}

const ocid = 'ocds-213czf-1';
const buyer = { id: 'MD-IDNO-1006601000000', name: 'Primăria' };
const supplier = { id: 'party 2', name: 'SRL Drum' };
const parties = [
  {
    ...buyer,
    identifier: { scheme: 'MD-IDNO', id: '1006601000000' },
    address: { region: 'Chișinău', streetAddress: 'str. 1', locality: 'Centru' },
    roles: ['buyer'],
  },
  { ...supplier, identifier: { scheme: 'MD-IDNO', id: '77' }, contactPoint: { name: 'Ion' }, roles: ['supplier'] },
];
const contract = (amount: number, own: object = {}) => ({
  id: 'c1',
  awardID: 'a1',
  title: 'Asphalt',
  status: 'active',
  value: { amount, currency: 'MDL' },
  dateSigned: '2023-02-01T10:00:00Z',
  period: { startDate: '2023-02-02T00:00:00Z', endDate: '2023-12-31T00:00:00Z' },
  items: [
    {
      id: '1',
      description: 'Asphalt',
      classification: { scheme: 'CPV', id: '44113620' },
      quantity: 3,
      unit: { value: { amount: 30, currency: 'MDL' } },
    },
  ],
  ...own,
});
const release = (id: string, date: string, tag: string, contracts: object[], own: object = {}) => ({
  ocid,
  id,
  date,
  tag: [tag],
  buyer,
  parties,
  tender: { id: 't', value: { amount: 120, currency: 'MDL' } },
  awards: [{ id: 'a1', suppliers: [supplier], value: { amount: 100, currency: 'MDL' } }],
  contracts,
  ...own,
});
const signed = release('r1', '2023-02-01T00:00:00Z', 'contract', [contract(100)]);
const amended = release('r2', '2023-06-01T00:00:00Z', 'contractAmendment', [
  contract(130, {
    implementation: {
      transactions: [{ id: 'p1', date: '2023-05-02T00:00:00Z', value: { amount: 40, currency: 'MDL' } }],
    },
  }),
]);
const contracts = () =>
  query(
    DATABASE_URL,
    `select source_ref as ref, version, is_root, plan_sum::text as plan, contract_sum::text as sum, actual_sum::text as actual, status_code as status
     from procurement.contracts order by version, source_ref`,
  );
const versions = [
  { ref: `${ocid}/c1`, version: 1, is_root: true, plan: '120', sum: '100', actual: null, status: 190 },
  { ref: `${ocid}/c1@r2`, version: 2, is_root: false, plan: '120', sum: '130', actual: '40', status: 190 },
];

t.test('a record with its releases tells of each version, and twice it is the same', async (t) => {
  const record = JSON.stringify(
    { records: [{ ocid, releases: [signed, amended, { ...amended, id: 'r3', date: '2023-07-01T00:00:00Z' }] }] },
    null,
    1,
  );
  t.match(await take('records.json', record), /1 rows; records: /);
  t.strictSame(await contracts(), versions, 'a release that changes nothing is no version');
  t.match(
    await query(
      DATABASE_URL,
      `select region_code, customer_bin, supplier_bin, category, fiscal_year, signed_on::text, starts_on::text, first_paid_on::text
       from procurement.contracts where is_root`,
    ),
    [
      {
        region_code: 'Chisinau',
        customer_bin: 'MD-IDNO-1006601000000',
        supplier_bin: 'MD-IDNO-77',
        category: '44113620',
        fiscal_year: 2023,
        signed_on: '2023-02-01',
        starts_on: '2023-02-02',
        first_paid_on: '2023-05-02',
      },
    ],
  );
  t.match(await query(DATABASE_URL, 'select bin, name, head from procurement.companies order by bin'), [
    { bin: 'MD-IDNO-1006601000000', name: 'Primăria', head: null },
    { bin: 'MD-IDNO-77', name: 'SRL Drum', head: 'Ion' },
  ]);
  await world.owner.query('select procurement.run_indicators(false)');
  t.match(await query(DATABASE_URL, "select value from procurement.findings where indicator_code = 'sum_growth'"), [
    { value: 30 },
  ]);
  t.match(await take('again.json', `${record}\n`), /records: 0 new, 0 changed/);
});

t.test('what is paid in parts is no version, and does not grow', async (t) => {
  const paid = (id: string, sums: number[]) => ({
    ...amended,
    id,
    date: `2023-${8 + sums.length}-01T00:00:00Z`,
    contracts: [
      contract(130, {
        implementation: {
          transactions: sums.map((amount, n) => ({
            id: `p${n}`,
            date: '2023-07-02T00:00:00Z',
            value: { amount, currency: 'MDL' },
          })),
        },
      }),
    ],
  });
  const first = {
    ...signed,
    contracts: paid('r1', [10]).contracts.map((each) => ({ ...each, value: contract(100).value })),
  };
  const releases = [first, amended, paid('r3', [40, 50]), paid('r4', [40, 50, 35])];
  await take(
    'parts.json',
    `${JSON.stringify({ records: [{ ocid, releases }] })}
`,
  );
  t.match(await contracts(), [
    { version: 1, actual: null },
    { version: 2, actual: '125' },
  ]);
  t.equal((await contracts()).length, 2);
});

t.test('releases by themselves, a line each, in whatever order they come', async (t) => {
  const counted = { ...amended, contracts: [{ ...amended.contracts[0], amendments: [{ id: '1' }] }] };
  await take('releases.jsonl', `${JSON.stringify(counted)}\n${JSON.stringify(signed)}\n`);
  t.strictSame(await contracts(), versions);
});

t.test('a compiled release has one version; of several contracts the plan is that of the lots', async (t) => {
  const lots = {
    tender: {
      id: 't',
      value: { amount: 500, currency: 'MDL' },
      lots: [
        { id: 'l1', value: { amount: 200, currency: 'MDL' } },
        { id: 'l2', value: { amount: 300, currency: 'MDL' } },
      ],
    },
  };
  const awards = [
    { id: 'a1', suppliers: [supplier], relatedLots: ['l1'] },
    { id: 'a2', suppliers: [supplier, buyer] },
  ];
  const compiled = release(
    'x',
    '2023-08-01T00:00:00Z',
    'compiled',
    [contract(100), contract(250, { id: 'c2', awardID: 'a2', status: 'cancelled' })],
    { ...lots, awards },
  );
  await take(
    'compiled.json',
    JSON.stringify({
      records: [
        {
          ocid,
          releases: [{ url: 'https://x.test/r1', date: '2023-01-01', tag: undefined }],
          compiledRelease: compiled,
        },
      ],
    }),
  );
  t.match(await contracts(), [
    { ref: `${ocid}/c1`, plan: '200', sum: '100', status: 190 },
    { ref: `${ocid}/c2`, plan: null, sum: '250', status: 330 },
  ]);
  t.match(
    await query(DATABASE_URL, "select supplier_bin from procurement.contracts where source_ref like '%c2'"),
    [{ supplier_bin: null }],
    'of several suppliers none is the one',
  );
});

t.test('what cannot be read or taken goes to the rejects with the reason', async (t) => {
  const lines = [
    '{"ocid": ',
    '[1]',
    JSON.stringify({ id: 'r' }),
    JSON.stringify({ ...signed, contracts: [contract(-1)] }),
    JSON.stringify({ ...signed, contracts: [{ title: 'no id' }] }),
    JSON.stringify({ ocid, releases: [{ url: 'https://x.test' }] }),
    JSON.stringify(release('r9', '2023-02-01T00:00:00Z', 'contract', [contract(5, { id: 'c9' })])),
  ];
  const stdout = await take(
    'bad.jsonl',
    `${JSON.stringify({ ocid: 'ocds-0', id: '0', tag: ['planning'] })}\n${lines.join('\n')}\n`,
  );
  t.match(stdout, /8 rows/);
  t.strictSame(await query(DATABASE_URL, 'select line::int, reason from procurement.rejects order by line'), [
    { line: 2, reason: 'It is no JSON.' },
    { line: 3, reason: 'It is no object.' },
    { line: 4, reason: 'It has no ocid.' },
    { line: 5, reason: 'contract_sum is below zero.' },
    {
      line: 6,
      reason:
        'ref is missing. fiscal_year and signed_on are both missing, or not readable. type: there is no "". status: there is no "".',
    },
    { line: 7, reason: 'It only links to its releases, and has no compiled one.' },
  ]);
  t.match(await contracts(), [{ ref: `${ocid}/c9` }]);
});
