import t from 'tap';
import { openWorld } from '../world.ts';
import { award, bid, contract, take, tender } from './sample.ts';
import { asking } from './tenders.ts';

// D6 of tenders: an analyst sees those of their regions, and nothing that others are counted in.

const world = await openWorld(t);
const operator = await world.person('olga', { operator: true });
const analyst = await world.person('anna');
const nobody = await world.person('noah');
const ofAll = asking(world, operator);
const ofSome = asking(world, analyst);
const ofNone = asking(world, nobody);

const [here, there, both] = ['000000000101', '000000000102', '000000000103'] as const;
const lone = (ref: string, region: string, customer_bin: string, tenderer: string) => [
  tender(ref, { region, customer_bin, ends_at: '2024-03-02T09:00:00Z' }),
  bid(ref, tenderer, '100', { status: 'disqualified' }),
  award(ref, tenderer),
];
await take(world, [
  ...lone('here 1', 'KZ-75', '000000000011', here),
  ...lone('here 2', 'KZ-75', '000000000011', here),
  ...lone('there 1', 'KZ-71', '000000000012', there),
  ...lone('there 2', 'KZ-71', '000000000012', there),
  ...lone('here 3', 'KZ-75', '000000000011', both),
  ...lone('there 3', 'KZ-71', '000000000012', both),
  ...lone('nowhere', '', '000000000013', there),
  ...['KZ-75', 'KZ-71'].map((region, n) =>
    contract(`split ${n}`, {
      region,
      customer_bin: '000000000021',
      supplier_bin: '000000000022',
      plan_sum: '',
      contract_sum: '9000000',
    }),
  ),
]);
await ofAll.ask(
  `mutation { setThresholds(input: {indicatorCode: "r038", thresholds: {fence: 0.5}}) { indicator { code } } }`,
);
await ofAll.ask(
  `mutation { grantRegion(input: {userId: "${analyst.id}", regionCode: "KZ-75"}) { regionGrant { regionCode } } }`,
);
await ofAll.run();

const everything = `{
  tenders(first: 100) { totalCount nodes { sourceRef regionCode bids(first: 9) { totalCount nodes { isAwarded tenderer { bin } } } } }
  bids(first: 100) { totalCount }
  awards(first: 100) { totalCount }
  companies(first: 100) { nodes { bin } }
}`;

t.test(
  'an analyst sees tenders, bids, awards and companies of their regions; who was granted nothing sees none',
  async (t) => {
    const none = await ofNone.ask(everything);
    t.strictSame(
      [none.tenders.totalCount, none.bids.totalCount, none.awards.totalCount, none.companies.nodes.length],
      [0, 0, 0, 0],
    );
    const some = await ofSome.ask(everything);
    t.strictSame([some.tenders.totalCount, some.bids.totalCount, some.awards.totalCount], [3, 3, 3]);
    t.match(some.tenders.nodes[0], { bids: { totalCount: 1, nodes: [{ isAwarded: true }] } });
    t.strictSame(
      some.companies.nodes.map((each: { bin: string }) => each.bin).sort(),
      ['000000000011', '000000000021', '000000000022', here, both].sort(),
    );
    const all = await ofAll.ask(everything);
    t.strictSame([all.tenders.totalCount, all.bids.totalCount, all.awards.totalCount], [7, 7, 7]);
    const company = await ofSome.ask(
      `{ company(bin: "${both}") { bids(first: 9) { totalCount } awards(first: 9) { totalCount } } }`,
    );
    t.match(company, { company: { bids: { totalCount: 1 }, awards: { totalCount: 1 } } });
  },
);

t.test(
  'findings of tenders of other regions, and of companies that are counted in other regions, are not told',
  async (t) => {
    t.strictSame(await ofSome.flagged('r003'), ['here 1', 'here 2', 'here 3']);
    t.equal((await ofAll.flagged('r003')).length, 7);
    t.strictSame(await ofSome.flagged('r038'), ['000000000011', here]);
    t.strictSame(await ofAll.flagged('r038'), ['000000000011', '000000000012', here, there, both]);
    t.strictSame(await ofSome.flagged('contract_splitting'), [], 'one of the contracts lies elsewhere');
    t.strictSame(await ofAll.flagged('contract_splitting'), ['000000000021 000000000022']);
  },
);

t.test('nor are they explained', async (t) => {
  t.match(await ofSome.explainCompany(here, 'r038'), [{ outcome: 'FLAGGED' }]);
  t.strictSame(await ofSome.explainCompany(both, 'r038'), []);
  t.match(await ofAll.explainCompany(both, 'r038'), [{ outcome: 'FLAGGED' }]);
  const { rows } = await world.owner.query("select id from procurement.tenders where source_ref = 'there 1'");
  const refused = await world.ask(`{ explainTender(tenderId: "${rows[0].id}") { reason } }`, {}, analyst.token);
  t.match(refused.errors?.[0], { extensions: { code: 'NOT_FOUND' } });
});

t.test(
  'red flags of tenders weigh on no contract, and no contract of another region is scored for an analyst',
  async (t) => {
    await take(world, [
      contract('of the pair here', { region: 'KZ-75', customer_bin: '000000000011', supplier_bin: here }),
      contract('of the pair there', { region: 'KZ-71', customer_bin: '000000000011', supplier_bin: here }),
      // Without a planned sum it is not counted by what is said of the pair.
      ...Array.from({ length: 6 }, (_, n) =>
        contract(`partner ${n}`, { customer_bin: '000000000031', supplier_bin: '000000000032' }),
      ),
      contract('partner there', {
        region: 'KZ-71',
        plan_sum: '',
        customer_bin: '000000000031',
        supplier_bin: '000000000032',
      }),
    ]);
    await ofAll.run();
    await ofAll.ask('mutation { scoreFindings(input: {anew: true}) { result } }');
    const scored = async (by: typeof ofAll): Promise<string[]> =>
      (
        await by.ask('{ scores(first: 100, filter: {kind: {eq: CONTRACT}}) { nodes { contractId parts } } }')
      ).scores.nodes.map(({ contractId }: { contractId: string }) => contractId);
    const idOf = async (ref: string) =>
      (await world.owner.query('select id from procurement.contracts where source_ref = $1', [ref])).rows[0]
        .id as string;
    t.ok((await scored(ofAll)).includes(await idOf('partner there')), 'the pair is flagged');
    t.ok((await scored(ofSome)).includes(await idOf('partner 1')));
    t.notOk((await scored(ofSome)).includes(await idOf('partner there')));
    t.notOk((await scored(ofAll)).includes(await idOf('of the pair there')), 'a flagged tender is no flagged contract');
  },
);

t.test(
  'what a later version in another region says is told to nobody here, and what moves away at once no more',
  async (t) => {
    await take(world, [
      contract('grows', { region: 'KZ-75', contract_sum: '100', version: '1' }),
      contract('moves', { region: 'KZ-75', contract_sum: '100' }),
      contract('grown', { region: 'KZ-71', contract_sum: '777', version: '2', parent: 'grows', root: 'grows' }),
    ]);
    await ofAll.run();
    const flagged = (by: typeof ofAll, code: string) =>
      by.ask(`{ findings(first: 100, filter: {indicatorCode: {eq: "${code}"}}) { nodes { contract { sourceRef } } } }`);
    t.match(await flagged(ofAll, 'sum_growth'), { findings: { nodes: [{ contract: { sourceRef: 'grows' } }] } });
    t.match(await flagged(ofSome, 'sum_growth'), { findings: { nodes: [] } });
    const moved = async () => JSON.stringify(await flagged(ofSome, 'super_dumping')).includes('"moves"');
    t.ok(await moved());
    await world.owner.query("update procurement.contracts set region_code = 'KZ-71' where source_ref = 'moves'");
    t.notOk(await moved(), 'before any run');
  },
);

t.test('who was granted nothing costs nothing: neither a list of companies nor an explanation', async (t) => {
  await world.owner.query(
    `insert into procurement.companies (bin) select lpad((5000000 + n)::text, 12, '0') from generate_series(1, 20000) as n`,
  );
  const reads = async (statement: string): Promise<number> => {
    const client = await world.owner.connect();
    try {
      await client.query('begin; set local role member; set local jit = off');
      await client.query("select set_config('plinth.user_id', $1, true)", [nobody.id]);
      const { rows } = await client.query(`explain (analyze, buffers, format json, timing off) ${statement}`);
      const { Plan } = rows[0]['QUERY PLAN'][0];
      return Plan['Shared Hit Blocks'] + Plan['Shared Read Blocks'];
    } finally {
      await client.query('rollback');
      client.release();
    }
  };
  t.ok(
    (await reads('select * from procurement.companies order by bin limit 21')) < 60_000,
    'a look at each by its key',
  );
  const explained = await reads("select * from procurement.explain_company('005000007')");
  t.ok(explained < 300, `${explained} blocks are read of a company that they may not see`);
});
