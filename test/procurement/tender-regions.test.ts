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
