import t from 'tap';
import { openAnalysis } from './analysis.ts';
import { contract, take } from './sample.ts';

// D3: communities in the network of customers and suppliers.

const { world, operator, ask } = await openAnalysis(t);

const bin = (n: number) => `${n}`.padStart(12, '0');
const ties: [customer: number, supplier: number, contracts: number, region?: string][] = [
  // Three groups who trade with each other, and one contract between each two groups.
  ...[1, 2, 3].flatMap((customer) => [11, 12].map((supplier): [number, number, number] => [customer, supplier, 4])),
  ...[4, 5].flatMap((customer) =>
    [14, 15, 16].map((supplier): [number, number, number, string] => [customer, supplier, 3, 'KZ-71']),
  ),
  [6, 17, 5],
  [7, 17, 2],
  [7, 18, 6],
  [3, 14, 1],
  // A company that sells in one group and buys in another.
  [6, 4, 1],
];
const bridges = [[5, 17, 1, 'KZ-71']] as typeof ties;
const records = (pairs: typeof ties) =>
  pairs.flatMap(([customer, supplier, contracts, region]) =>
    Array.from({ length: contracts }, (_, n) =>
      contract(`${customer} ${supplier} ${n}`, {
        customer_bin: bin(customer),
        supplier_bin: bin(supplier),
        region: region ?? 'KZ-75',
      }),
    ),
  );

type Community = {
  modularity: number;
  contracts: string;
  allContracts: string;
  regionCodes: string[];
  members: { nodes: { bin: string; side: string; contracts: string; allContracts: string }[] };
};
const list = async (token?: string): Promise<Community[]> =>
  (
    await ask(
      `{ communities(first: 100, orderBy: MODULARITY_DESC) { nodes { modularity contracts allContracts regionCodes
         members(first: 100) { nodes { bin side contracts allContracts } } } } }`,
      {},
      token,
    )
  ).communities.nodes;
const named = ({ members }: Community) =>
  members.nodes.map(({ bin, side }) => `${side === 'CUSTOMER' ? 'c' : 's'}${Number(bin)}`).sort();
const seek = async () =>
  (
    await ask(
      'mutation { findCommunities(input: {}) { networkRun { customers suppliers ties contracts communities modularity isSettled } } }',
    )
  ).findCommunities.networkRun;

t.test('D3: who trades with each other more than by chance is a community', async (t) => {
  await take(world, records([...ties, ...bridges]));
  const run = await seek();
  t.match(run, { customers: '7', suppliers: '8', ties: '18', communities: '3', isSettled: true });
  const found = await list();
  t.strictSame(found.map(named).sort(), [
    ['c1', 'c2', 'c3', 's11', 's12'],
    ['c4', 'c5', 's14', 's15', 's16'],
    ['c6', 'c7', 's17', 's18', 's4'],
  ]);

  // Barber's modularity of these, pair by pair.
  const all = [...ties, ...bridges];
  const total = all.reduce((sum, [, , contracts]) => sum + contracts, 0);
  const degree = (place: 0 | 1, of: number) =>
    all.filter((tie) => tie[place] === of).reduce((sum, [, , contracts]) => sum + contracts, 0);
  const groups = [
    { customers: [1, 2, 3], suppliers: [11, 12] },
    { customers: [4, 5], suppliers: [14, 15, 16] },
    { customers: [6, 7], suppliers: [17, 18, 4] },
  ];
  const modularity = groups.map(({ customers, suppliers }) =>
    customers
      .flatMap((customer) =>
        suppliers.map((supplier) => {
          const tie = all.find(([one, other]) => one === customer && other === supplier)?.[2] ?? 0;
          return (tie - (degree(0, customer) * degree(1, supplier)) / total) / total;
        }),
      )
      .reduce((sum, each) => sum + each, 0),
  );
  t.equal(run.contracts, `${total}`);
  t.ok(Math.abs(run.modularity - modularity.reduce((sum, each) => sum + each, 0)) < 1e-12, `${run.modularity}`);
  const largest = found[0] as Community;
  t.ok(Math.abs(largest.modularity - Math.max(...modularity)) < 1e-12);
  const inside = found.find((each) => named(each).includes('c1'));
  t.match(inside, { contracts: '24', allContracts: '25', regionCodes: ['KZ-75'] });
  t.match(
    inside?.members.nodes.find(({ bin: of }) => of === bin(3)),
    { contracts: '8', allContracts: '9' },
  );

  const before = (await list()).map(named);
  await seek();
  t.strictSame((await list()).map(named), before, 'the same contracts give the same communities');
});

t.test('D3: an analyst is told of a community all of whose contracts lie in their regions', async (t) => {
  const analyst = await world.person('anna');
  await ask('mutation ($input: GrantRegionInput!) { grantRegion(input: $input) { __typename } }', {
    input: { userId: analyst.id, regionCode: 'KZ-75' },
  });
  // Its supplier 14 has a contract in that region; customer 5 has one with supplier 17.
  t.strictSame((await list(analyst.token)).map(named), [['c1', 'c2', 'c3', 's11', 's12']]);
  const { communityMembers } = await ask('{ communityMembers(first: 100) { totalCount } }', {}, analyst.token);
  t.equal(communityMembers.totalCount, 5);
  const { errors } = await world.ask('{ networkRuns(first: 1) { totalCount } }', {}, analyst.token);
  t.match(errors?.[0], { extensions: { code: 'FORBIDDEN' } });
});

t.test('D3: rounds are bounded, and what ended before it settled says so', async (t) => {
  const { findCommunities } = await ask(
    'mutation { findCommunities(input: {maxRounds: 1}) { networkRun { rounds isSettled } } }',
  );
  t.strictSame(findCommunities.networkRun, { rounds: 1, isSettled: false });
  const { errors } = await world.ask(
    'mutation { findCommunities(input: {maxRounds: 0}) { networkRun { id } } }',
    {},
    operator.token,
  );
  t.match(errors?.[0], { extensions: { code: 'BAD_USER_INPUT', argument: 'maxRounds' } });
});
