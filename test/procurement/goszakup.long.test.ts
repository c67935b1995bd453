import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { launch, runScript, temporaryFolder } from '../running-plinth.ts';
import { query } from '../scratch-database.ts';
import { openWorld } from '../world.ts';
import { answer, contractItem, openGoszakupServer, token } from './goszakup-server.ts';

// D1: contracts from the unified services of goszakup.gov.kz.

const world = await openWorld(t);
const DATABASE_URL = world.databaseUrl;
const service = await openGoszakupServer(t);
const env = { DATABASE_URL, GOSZAKUP_API: service.url, GOSZAKUP_TOKEN: token };
const folder = temporaryFolder(t);
const run = (args: string[], own: Record<string, string> = {}) =>
  runScript('import', ['goszakup', ...args], { ...env, ...own }, folder);
t.beforeEach(async () => {
  await world.owner.query(
    'truncate procurement.contracts, procurement.plans, procurement.contract_units, procurement.payments, procurement.contract_acts, procurement.companies, procurement.imports, procurement.rejects cascade',
  );
  service.registers = {};
  service.asked.length = 0;
  service.faults.length = 0;
});
const contracts = (columns: string) =>
  query(DATABASE_URL, `select ${columns} from procurement.contracts order by source_ref::int`);

t.test('contracts, what they buy, plans, payments, acts and companies come together', async (t) => {
  service.registers = {
    '/v3/contract/all': [
      contractItem(409548, { ref_contract_status_id: 455 }),
      contractItem(500001, {
        root_id: 409548,
        parent_id: 409548,
        contract_number_sys: '000140001536/16409548/01',
        contract_sum: 64064,
        fakt_sum_wnds: 71751.68,
      }),
      contractItem(409550, { ref_contract_year_type_id: 2, supplier_biin: null }),
      contractItem(409551, { deleted: 1 }),
      contractItem(409552, { customer_bin: '140001536' }),
    ],
    '/v3/contract/409548/units': [
      {
        id: 1,
        contract_registry_id: 409548,
        pln_point_id: 77,
        item_price: 10,
        quantity: 5000,
        total_sum: 50000,
        total_sum_wnds: 56000,
        deleted: 0,
      },
      {
        id: 2,
        contract_registry_id: 409548,
        pln_point_id: 78,
        item_price: 1,
        quantity: 1,
        total_sum: 1,
        total_sum_wnds: 1.12,
        deleted: 0,
      },
      { id: 3, contract_registry_id: 409548, pln_point_id: 78, deleted: 1 },
    ],
    '/v3/plans/all': [
      {
        id: 77,
        plan_fin_year: 2016,
        subject_biin: '000140001536',
        subject_name_ru: 'ГУ "Заказчик"',
        ref_enstru_code: '18.12.15',
        name_ru: 'Масла',
        amount: 50000,
      },
      { id: 78, plan_fin_year: 2016, subject_biin: '000140001536', amount: 14000.5 },
    ],
    '/v3/treasury-pay': [
      { id: 9001, contract_id: 409548, pay_date: '2016-01-12 00:00:00', pay_amount: 32032, prepay_sum: 0 },
      { id: 9000, contract_id: 409548, pay_date: '2016-01-09 00:00:00', pay_amount: 100, prepay_sum: 100 },
    ],
    '/v3/acts': Array.from({ length: 501 }, (_, n) => ({
      id: n + 1,
      contract_id: 409548,
      approve_date: '2016-03-01 11:27:39',
      sum_transfer: 1,
      is_deleted: 0,
    })),
    '/v3/subject/all': [
      {
        id: 3,
        pid: 3,
        bin: '000140001536',
        iin: null,
        name_ru: 'ГУ "Заказчик"',
        address: [{ address: 'г.Астана', kato_code: '710000000', edit_date: '2018-01-03' }],
      },
      { id: 2, pid: 2, bin: null, iin: '910227300351', name_ru: 'ИП "Эльдар"' },
    ],
  };
  for (const path of ['/v3/contract/500001/units', '/v3/contract/409550/units', '/v3/contract/409552/units'])
    service.registers[path] = [];
  const first = await run(['contracts+units']);
  t.match(first, { status: 0, stdout: /: 5 rows; records: 5 new, 0 changed, 0 known, 3 rejected/ });
  t.strictSame(await query(DATABASE_URL, 'select line::int, reason from procurement.rejects order by line'), [
    { line: 2, reason: 'customer_bin: "140001536" is not a BIN of this source.' },
    { line: 3, reason: 'It was deleted at the source.' },
    { line: 5, reason: 'It was deleted at the source.' },
  ]);
  for (const register of ['plans', 'payments', 'acts', 'subjects'])
    t.equal((await run([register])).status, 0, register);
  t.strictSame(
    await contracts(
      `source_ref, version, is_root, type_code, status_code, fiscal_year, region_code, customer_bin, supplier_bin, signed_on::text, first_paid_on::text,
       plan_sum::text, contract_sum::text, contract_sum_vat::text, actual_sum::text, actual_sum_vat::text`,
    ),
    [
      {
        source_ref: '409548',
        version: 1,
        is_root: true,
        type_code: 'annual',
        status_code: 455,
        plan_sum: '64000.5',
        contract_sum: '32032',
        actual_sum_vat: '0',
        first_paid_on: '2016-01-12',
        supplier_bin: '120440026517',
      },
      {
        source_ref: '409550',
        version: 1,
        is_root: true,
        type_code: 'multi_year',
        status_code: 390,
        plan_sum: null,
        contract_sum: '32032',
        actual_sum_vat: '0',
        first_paid_on: null,
        supplier_bin: null,
      },
      {
        source_ref: '500001',
        version: 2,
        is_root: false,
        type_code: 'annual',
        status_code: 390,
        plan_sum: null,
        contract_sum: '64064',
        actual_sum_vat: '71751.68',
        first_paid_on: null,
        supplier_bin: '120440026517',
      },
    ].map(
      ({
        source_ref,
        version,
        is_root,
        type_code,
        status_code,
        plan_sum,
        contract_sum,
        actual_sum_vat,
        first_paid_on,
        supplier_bin,
      }) => ({
        source_ref,
        version,
        is_root,
        type_code,
        status_code,
        fiscal_year: 2016,
        region_code: 'KZ-71',
        customer_bin: '000140001536',
        supplier_bin,
        signed_on: '2016-01-08',
        first_paid_on,
        plan_sum,
        contract_sum,
        contract_sum_vat: '35875.84',
        actual_sum: null,
        actual_sum_vat,
      }),
    ),
    'the planned sum is that of the plans of all units, the region that of the customer; advances do not count as the first payment',
  );
  t.match(
    (await query(DATABASE_URL, 'select count(*)::int from procurement.contract_acts'))[0],
    { count: 501 },
    'also of a next page that is named without /v3',
  );
  t.match(await query(DATABASE_URL, "select name from procurement.companies where bin = '910227300351'"), [
    { name: 'ИП "Эльдар"' },
  ]);

  const again = await run(['contracts+units']);
  t.match(
    again.stdout,
    /: 5 rows; records: 0 new, 0 changed, 5 known, 3 rejected/,
    'what is known stays, also what others told',
  );
  t.match((await contracts('plan_sum::text, region_code'))[0], { plan_sum: '64000.5', region_code: 'KZ-71' });
});

t.test('from files: pages, a list, or an item a line', async (t) => {
  writeFileSync(
    path.join(folder, 'page.json'),
    JSON.stringify({ total: 2, items: [contractItem(1), contractItem(2)] }, null, 2),
  );
  writeFileSync(
    path.join(folder, 'items.jsonl'),
    `${JSON.stringify(contractItem(3))}\n{"id": \n${JSON.stringify(contractItem(2))}\n`,
  );
  const { status, stdout } = await run(['contracts', 'page.json', 'items.jsonl']);
  t.equal(status, 0);
  t.match(
    stdout,
    /page\.json: 2 rows; records: 2 new[\s\S]*items\.jsonl: 3 rows; records: 1 new, 0 changed, 1 known, 1 rejected/,
  );
  t.equal(service.asked.length, 0);
});

t.test('D13: what fails is asked again: too many requests, a lost connection', async (t) => {
  service.registers['/v3/contract/all'] = Array.from({ length: 501 }, (_, n) => contractItem(n + 1));
  service.faults = [
    (_, response) => answer(response, 429, {}, { 'retry-after': '1' }),
    (_, response) => answer(response, 502, '<html>Bad Gateway</html>'),
  ];
  const { status, stdout, stderr } = await run(['contracts']);
  t.equal(status, 0, stderr);
  t.match(stdout, /501 rows; records: 501 new/);
  t.strictSame(
    service.asked.map((each) => new URL(each, service.url).searchParams.get('search_after')),
    [null, null, null, '2'],
  );
  t.notMatch(stdout + stderr, token, 'nobody reads the token');
});

t.test('an import that was killed goes on at its page', async (t) => {
  service.registers['/v3/contract/all'] = Array.from({ length: 1400 }, (_, n) => contractItem(n + 1));
  const isThird = () => service.asked.length >= 3;
  service.faults = [
    (_, response) =>
      answer(response, 200, {
        total: 1400,
        next_page: '/v3/contract/all?page=next&search_after=901',
        items: Array.from({ length: 500 }, (_, n) => contractItem(1400 - n)),
      }),
    (_, response) =>
      answer(response, 200, {
        total: 1400,
        next_page: '/v3/contract/all?page=next&search_after=401',
        items: Array.from({ length: 500 }, (_, n) => contractItem(900 - n)),
      }),
    () => {},
  ];
  const { child, ended } = launch('import', ['goszakup', 'contracts'], env, folder);
  while (!isThird()) await delay(20);
  child.kill('SIGKILL');
  await ended;
  const { status, stdout } = await run(['contracts']);
  t.equal(status, 0);
  t.match(stdout, /goes on after 1000 rows/);
  t.match(service.asked.at(-1), /search_after=401/);
  t.equal(service.asked.length, 4);
  t.match((await query(DATABASE_URL, 'select count(*)::int from procurement.contracts'))[0], { count: 1400 });
});

t.test('what it cannot do it refuses', async (t) => {
  service.registers['/v3/contract/all'] = [];
  t.match(await run(['contracts'], { GOSZAKUP_TOKEN: 'wrong' }), {
    status: 1,
    stderr: /does not take the token \(401\)/,
  });
  t.match(await run(['contracts'], { GOSZAKUP_TOKEN: '' }), { status: 1, stderr: /no token/ });
  t.match(await run(['everything']), { status: 1, stderr: /no register "everything"/ });
  t.match(await run(['units']), { status: 1, stderr: /no register of their own/ });
  service.faults = [
    (_, response) =>
      answer(response, 200, { total: 9, next_page: '/v3/acts?page=next&search_after=7', items: [{ id: 8 }] }),
    (_, response) =>
      answer(response, 200, { total: 9, next_page: '/v3/acts?page=next&search_after=7', items: [{ id: 8 }] }),
  ];
  t.match(await run(['acts']), { status: 1, stderr: /the same page again after 7/ });
});
