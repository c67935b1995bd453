import t from 'tap';
import type { StagedRecord } from '../../functions/contract-imports.ts';
import { type Finding, openAnalysis } from './analysis.ts';
import { contract, take } from './sample.ts';

// D3: what shows in all contracts of a customer: few suppliers, digits that do not come by themselves, suppliers that belong together.

const { world, ask, run, flagged, explain, tried } = await openAnalysis(t);

const bin = (n: number) => `${n}`.padStart(12, '0');
const bought = (customer: number, supplier: number, sums: number[], fields: Record<string, string> = {}) =>
  sums.map((sum, n) =>
    contract(`${customer} of ${supplier}, ${n}`, {
      customer_bin: bin(customer),
      supplier_bin: bin(supplier),
      contract_sum: `${sum}`,
      plan_sum: `${sum * 2}`,
      ...fields,
    }),
  );
const company = (n: number, fields: Record<string, string>): StagedRecord => ({
  kind: 'company',
  record: { bin: bin(n), ...fields },
});
const customers = (findings: Finding[]) => findings.map(({ customerBin }) => Number(customerBin));
const near = (actual: number | null | undefined, expected: number) =>
  Math.abs((actual ?? Number.NaN) - expected) < 1e-9;

t.test('D3: HHI of the suppliers of a customer over 0.25', async (t) => {
  await take(world, [
    ...bought(1, 11, [200, 200, 200]),
    ...bought(1, 12, [100, 100, 100]),
    ...bought(1, 13, [25, 25, 25, 25]),
    ...[21, 22, 23, 24].flatMap((supplier) => bought(2, supplier, [100, 200, 300])),
    ...bought(3, 31, [1, 2, 3]),
    // Known with VAT only.
    ...bought(4, 41, Array(10).fill(10), { contract_sum: '', contract_sum_vat: '10' }),
    // Cancelled: it does not count.
    ...bought(2, 25, [1_000_000], { status: '350' }),
  ]);
  await run();
  const found = await flagged('supplier_concentration');
  t.strictSame(customers(found), [1, 4]);
  t.ok(near(found[0]?.value, 0.46), '0.6² + 0.3² + 0.1²');
  t.match(found[0]?.inputs, { suppliers: 3, contracts: 10, sum: 1000, largest_share: 0.6 });
  t.match(found[1], { value: 1, supplierBin: null, inputs: { is_without_vat: false, sum: 100 } });
  t.match(await explain('2 of 21, 0', 'supplier_concentration'), { outcome: 'CLEAR', value: 0.25 });
  t.match(await explain('3 of 31, 0', 'supplier_concentration'), { outcome: 'NOT_COMPUTABLE', reason: /at least 10/ });

  // A sum alone has changed: a quarter each no more.
  await take(world, bought(2, 21, [100, 200, 400]));
  await run();
  t.strictSame(customers(await flagged('supplier_concentration')), [1, 2, 4]);
  t.strictSame(customers(await tried('supplier_concentration', { hhi: 0.3 })), [1, 4]);
});

t.test('D3: first digits of a customer against the law of Benford', async (t) => {
  // 1.01ⁿ over two whole decades follows the law; uniform sums do not.
  const lawful = Array.from({ length: 926 }, (_, n) => Number((100 * 1.01 ** (n / 2)).toFixed(2)));
  const uniform = Array.from({ length: 900 }, (_, n) => 100 + n);
  await take(world, [
    ...bought(5, 51, lawful),
    // Known with VAT only: another law than that of the others.
    ...bought(5, 52, uniform, { contract_sum: '', contract_sum_vat: '999' }),
    ...bought(6, 61, uniform),
    ...bought(7, 71, [...uniform.slice(0, 498), 0.05]),
  ]);
  await run();
  const found = await flagged('benford');
  t.strictSame(customers(found), [6]);
  const expected = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((digit) => Math.log10(1 + 1 / digit));
  const deviation = (digits: number[]) =>
    expected.reduce((sum, share, n) => {
      const have = digits.filter((digit) => digit === n + 1).length / digits.length;
      return sum + Math.abs(have - share) / 9;
    }, 0);
  t.ok(near(found[0]?.value, deviation(uniform.map((sum) => Number(`${sum}`[0])))), `${found[0]?.value}`);
  t.match(found[0]?.inputs.digits, { 1: 100, 9: 100 });
  t.match(found[0]?.reason, /900 sums .* nonconformity/);
  const clear = await explain('5 of 51, 0', 'benford');
  t.ok(near(clear.value, deviation(lawful.map((sum) => Number(`${sum}`[0])))), `${clear.value}`);
  t.match(clear, { outcome: 'CLEAR', inputs: { is_without_vat: true }, reason: /close conformity/ });
  t.match(await explain('7 of 71, 0', 'benford'), {
    outcome: 'NOT_COMPUTABLE',
    reason: /499 contracts .* at least 500/,
  });

  // 100 to 597, of which no digit is over 5, and 0.05, which begins with a 5.
  const few = (await tried('benford', { contracts: 499 })).find(({ customerBin }) => Number(customerBin) === 7);
  const digits = [...uniform.slice(0, 498).map((sum) => Number(`${sum}`[0])), 5];
  t.ok(near(few?.value, deviation(digits)), `${few?.value}`);
});

t.test('D3: a supplier with the address or head of its customer or of another supplier', async (t) => {
  const shared = async (token?: string) =>
    (await flagged('shared_contacts', token)).map(
      ({ customerBin, supplierBin, inputs }) =>
        `${Number(customerBin)} ${Number(supplierBin)}: ${inputs.companies.map((other: { bin: string; shares: string }) => `${Number(other.bin)} ${other.shares}`).join()}`,
    );
  await take(world, [
    company(8, { address: 'Almaty, Abay ave. 1', head: 'A. Omarov' }),
    company(81, { address: 'Astana, Turan 5, office 7', head: 'B. Serik' }),
    company(82, { address: 'ASTANA; Turan 5 (office 7)', head: 'C. Dana' }),
    company(83, { address: 'Astana, Turan 6', head: 'a omarov' }),
    company(84, { address: 'Astana, Turan 8' }),
    // The same address, but no contract with the customer.
    company(86, { address: 'Astana, Turan 5, office 7' }),
    ...[81, 82, 83, 84, 85].flatMap((supplier) => bought(8, supplier, [100])),
    ...bought(9, 86, [100]),
  ]);
  await run();
  t.strictSame(await shared(), ['8 81: 82 address', '8 82: 81 address', '8 83: 8 head']);
  t.match(await explain('8 of 84, 0', 'shared_contacts'), { outcome: 'CLEAR', value: 0 });
  t.match(await explain('8 of 85, 0', 'shared_contacts'), { outcome: 'NOT_COMPUTABLE', reason: /Neither/ });

  // A supplier moves: who shared with it is clear again, who does now is not.
  await take(world, [company(82, { address: 'Astana, Turan 8' })]);
  await run();
  t.strictSame(await shared(), ['8 82: 84 address', '8 83: 8 head', '8 84: 82 address']);
  await run(false);
  t.strictSame(await shared(), ['8 82: 84 address', '8 83: 8 head', '8 84: 82 address'], 'as a run on everything says');

  const analyst = await world.person('anna');
  await ask('mutation ($input: GrantRegionInput!) { grantRegion(input: $input) { __typename } }', {
    input: { userId: analyst.id, regionCode: 'KZ-75' },
  });
  t.equal((await shared(analyst.token)).length, 3);
  await take(world, bought(8, 84, [100], { region: 'KZ-71' }));
  await run();
  t.strictSame(
    await shared(analyst.token),
    ['8 83: 8 head'],
    'what shares with a supplier of another region is not told',
  );
});
