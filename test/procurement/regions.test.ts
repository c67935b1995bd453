import t from 'tap';
import { fieldOf, listen } from '../events/listen.ts';
import { openWorld } from '../world.ts';
import { contract, payment, take } from './sample.ts';

// D6: an analyst sees the regions that were granted to them, and nothing else.

const world = await openWorld(t);
const operator = await world.person('olga', { operator: true });
const analyst = await world.person('anna');
const nobody = await world.person('noah');

async function ask(query: string, token: string, variables: object = {}) {
  const { data, errors } = await world.ask(query, variables, token);
  if (errors) throw new Error(JSON.stringify(errors));
  return data;
}

const there = { region: 'KZ-75', customer_bin: '000000000011', supplier_bin: '000000000012', contract_sum: '500' };
const elsewhere = { region: 'KZ-71', customer_bin: '000000000021', supplier_bin: '000000000022', contract_sum: '500' };
const nowhere = { region: '', customer_bin: '000000000031', supplier_bin: '000000000032', contract_sum: '500' };
await take(world, [
  ...Array.from({ length: 5 }, (_, n) => contract(`there ${n}`, there)),
  ...Array.from({ length: 5 }, (_, n) => contract(`elsewhere ${n}`, elsewhere)),
  contract('nowhere', nowhere),
  payment('there 0', '2024-03-02'),
  payment('elsewhere 0', '2024-03-02'),
  // The shares of this couple count contracts of both regions.
  ...['KZ-75', 'KZ-75', 'KZ-75', 'KZ-75', 'KZ-71'].map((region, n) =>
    contract(`both ${n}`, { region, customer_bin: '000000000041', supplier_bin: '000000000042' }),
  ),
]);
await world.owner.query('select procurement.run_indicators(false)');

const grant = (name: 'grantRegion' | 'revokeRegion', token: string) =>
  world.ask(
    `mutation ($input: ${name === 'grantRegion' ? 'GrantRegionInput' : 'RevokeRegionInput'}!) { ${name}(input: $input) { __typename } }`,
    { input: { userId: analyst.id, regionCode: 'KZ-75' } },
    token,
  );

const everything = `{
  contracts(first: 100) { totalCount nodes { regionCode } }
  companies(first: 100) { totalCount nodes { bin } }
  payments(first: 100) { totalCount }
  findings(first: 100) { totalCount nodes { regionCodes indicatorCode } }
  contractTotals(by: REGION) { key contracts flagged }
  myRegions(first: 10) { nodes { code } }
}`;

t.test('who was granted nothing sees nothing', async (t) => {
  const seen = await ask(everything, nobody.token);
  for (const list of ['contracts', 'companies', 'payments', 'findings']) t.equal(seen[list].totalCount, 0, list);
  t.strictSame(seen.contractTotals, []);
});

t.test('only who runs the place grants regions', async (t) => {
  t.match((await grant('grantRegion', analyst.token)).errors?.[0], { extensions: { code: 'FORBIDDEN' } });
  t.equal((await grant('grantRegion', operator.token)).errors, undefined);
});

t.test('an analyst sees what lies in their regions: in lists, counts, totals and through relations', async (t) => {
  const seen = await ask(everything, analyst.token);
  t.equal(seen.contracts.totalCount, 9);
  t.ok(seen.contracts.nodes.every(({ regionCode }: { regionCode: string }) => regionCode === 'KZ-75'));
  t.strictSame(seen.companies.nodes.map(({ bin }: { bin: string }) => bin).sort(), [
    '000000000011',
    '000000000012',
    '000000000041',
    '000000000042',
  ]);
  t.equal(seen.payments.totalCount, 1);
  t.ok(seen.findings.nodes.every(({ regionCodes }: { regionCodes: string[] }) => regionCodes.join() === 'KZ-75'));
  const pairs = seen.findings.nodes.filter(
    ({ indicatorCode }: { indicatorCode: string }) => indicatorCode === 'partnership',
  );
  t.equal(pairs.length, 1, 'a pair whose shares count another region is not told');
  t.strictSame(seen.contractTotals, [{ key: 'KZ-75', contracts: '9', flagged: '5' }]);
  t.strictSame(seen.myRegions.nodes, [{ code: 'KZ-75' }]);

  const company = await ask(
    '{ company(bin: "000000000042") { contractsAsSupplier(first: 10) { totalCount } } }',
    analyst.token,
  );
  t.equal(company.company.contractsAsSupplier.totalCount, 4);

  const all = await ask(everything, operator.token);
  t.equal(all.contracts.totalCount, 16, 'an operator sees all');
  t.equal(
    all.findings.nodes.filter((each: { indicatorCode: string }) => each.indicatorCode === 'partnership').length,
    3,
  );
});

t.test('what is elsewhere cannot be explained, nor listened to', async (t) => {
  const { rows } = await world.owner.query(
    "select id from procurement.contracts where source_ref in ('elsewhere 0', 'both 0') order by source_ref desc",
  );
  const explained = (id: string) =>
    world.ask(`{ explainContract(contractId: "${id}") { indicatorCode } }`, {}, analyst.token);
  t.match((await explained(rows[0].id)).errors?.[0], { extensions: { code: 'NOT_FOUND' } });
  const own = (await explained(rows[1].id)).data.explainContract.map(
    (each: { indicatorCode: string }) => each.indicatorCode,
  );
  t.notOk(own.includes('partnership'), 'nor a pair whose shares count another region');
  t.ok(own.includes('super_dumping'));

  const listen = async (regionCode: string) => {
    const response = await fetch(`${world.server.url}graphql`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${analyst.token}`,
        accept: 'text/event-stream',
        'content-type': 'application/json',
      },
      body: JSON.stringify({
        query: `subscription { regionEvents(regionCode: "${regionCode}") { event { type data } indicatorRun { id } } }`,
      }),
    });
    return response.body?.pipeThrough(new TextDecoderStream()).getReader();
  };
  const read = async (reader: Awaited<ReturnType<typeof listen>>, wanted: RegExp) => {
    let text = '';
    while (!wanted.test(text)) {
      const { value, done } = (await reader?.read()) ?? { done: true };
      if (done) break;
      text += value;
    }
    return text;
  };
  t.match(await read(await listen('KZ-71'), /NOT_FOUND/), /NOT_FOUND/);
  const reader = await listen('KZ-75');
  await take(world, [contract('new', there), contract('new elsewhere', elsewhere)]);
  // Asked again until the subscription stands and is told.
  const told = read(reader, /findings_changed/);
  let isTold = false;
  told.then(() => {
    isTold = true;
  });
  while (!isTold) {
    await world.owner.query('select procurement.run_indicators(false)');
    await Promise.race([told, new Promise((resolve) => setTimeout(resolve, 200))]);
  }
  t.match(await told, /"region_code": ?"KZ-75"/);
  t.notMatch(await told, /KZ-71/);
  await reader?.cancel();
});

t.test('a region that was taken away is seen no more', async (t) => {
  t.equal((await grant('revokeRegion', operator.token)).errors, undefined);
  const { rows } = await world.owner.query("select data, user_id from events.log where type = 'region_revoked'");
  t.strictSame(rows, [{ data: { region_code: 'KZ-75' }, user_id: null }], 'nobody there is told from whom, or by whom');
  const seen = await ask(everything, analyst.token);
  for (const list of ['contracts', 'companies', 'payments', 'findings']) t.equal(seen[list].totalCount, 0, list);
});

const regionEvents = `subscription ($code: String!, $after: String) {
  regionEvents(regionCode: $code, after: $after) { event { type data } indicatorRun { id } }
}`;
const withdrawals: [how: string, withdraw: () => Promise<unknown>][] = [
  ['by an operator', () => grant('revokeRegion', operator.token)],
  ['in SQL', () => world.owner.query('delete from procurement.region_grants where user_id = $1', [analyst.id])],
];

for (const over of ['ws', 'sse'] as const)
  for (const [how, withdraw] of withdrawals)
    t.test(`who loses a region ${how} hears nothing more of it, and is told why (${over})`, async (t) => {
      await grant('grantRegion', operator.token);
      const { cursor: after } = await ask('{ cursor }', analyst.token);
      const hear = ({ token }: { token: string }) =>
        listen(t, world.server.url, { over, query: regionEvents, variables: { code: 'KZ-75', after }, token });
      // The one who stays may listen in one group with the one who goes.
      const [going, staying] = [hear(analyst), hear(operator)];
      const find = () => world.owner.query('select procurement.run_indicators(false)');
      await find();
      for (const ear of [going, staying])
        t.match(fieldOf(await ear.next()), { event: { type: 'findings_changed' }, indicatorRun: { id: /./ } });
      await withdraw();
      await find();
      const types: string[] = [];
      while (types.at(-1) !== 'findings_changed') types.push(fieldOf(await staying.next()).event.type);
      t.match(await going.take(2), [{ errors: [{ extensions: { code: 'NOT_FOUND' } }] }, { end: /./ }]);
    });
