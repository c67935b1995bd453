import { writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { runScript, temporaryFolder } from '../running-plinth.ts';
import { query } from '../scratch-database.ts';
import { openWorld } from '../world.ts';

// Tenders, bids and awards from releases of the Open Contracting Data Standard, which tell them in parts.

const world = await openWorld(t);
const DATABASE_URL = world.databaseUrl;
const folder = temporaryFolder(t);
t.beforeEach(() => world.owner.query('truncate procurement.tenders, procurement.imports, procurement.rejects cascade'));
async function take(name: string, releases: object[]) {
  writeFileSync(path.join(folder, name), releases.map((each) => `${JSON.stringify(each)}\n`).join(''));
  const ended = await runScript('import', ['ocds', 'ocds-test', name], { DATABASE_URL }, folder);
  t.equal(ended.status, 0, ended.stderr);
  return ended.stdout;
}

const ocid = 'ocds-213czf-7';
const parties = [
  { id: 'b', name: 'Town', identifier: { scheme: 'X', id: '1' }, address: { region: 'North' } },
  { id: 's1', name: 'One', identifier: { scheme: 'X', id: '11' } },
  { id: 's2', name: 'Two', identifier: { scheme: 'X', id: '12' } },
];
const notice = {
  ocid,
  id: 'r1',
  date: '2023-01-10T00:00:00Z',
  tag: ['tender'],
  buyer: { id: 'b', name: 'Town' },
  parties,
  tender: {
    id: 't',
    title: 'Road',
    status: 'active',
    procurementMethod: 'open',
    procurementMethodDetails: 'Open tender',
    awardCriteria: 'priceOnly',
    value: { amount: 500.5, currency: 'MDL' },
    tenderPeriod: { startDate: '2023-01-10T08:00:00+02:00', endDate: '2023-02-01T10:00:00Z' },
  },
};
const opened = {
  ocid,
  id: 'r2',
  date: '2023-02-01T12:00:00Z',
  tag: ['tenderUpdate'],
  parties,
  tender: { id: 't', status: 'complete', numberOfTenderers: 2 },
  bids: {
    details: [
      {
        id: 1,
        date: '2023-01-30T00:00:00Z',
        status: 'pending',
        tenderers: [{ id: 's1' }],
        value: { amount: 450, currency: 'MDL' },
      },
      {
        id: 2,
        date: '2023-01-31T00:00:00Z',
        status: 'pending',
        tenderers: [{ id: 's2' }, { id: 's1' }],
        value: { amount: 470, currency: 'MDL' },
      },
    ],
  },
};
const awarded = {
  ocid,
  id: 'r3',
  date: '2023-03-01T00:00:00Z',
  tag: ['award'],
  parties,
  bids: {
    details: [
      { id: 1, status: 'valid' },
      { id: 2, status: 'disqualified' },
    ],
  },
  awards: [
    {
      id: 'a',
      status: 'active',
      date: '2023-03-01T00:00:00Z',
      suppliers: [{ id: 's1' }],
      value: { amount: 450, currency: 'MDL' },
      items: [
        { id: '1', classification: { scheme: 'CPV', id: '45233120' } },
        { id: '2', classification: { scheme: 'CPV', id: '45233120' } },
        { id: '3', classification: { scheme: 'CPV', id: '71320000' } },
      ],
    },
  ],
};

const stored = async () => ({
  tenders: await query(
    DATABASE_URL,
    `select source_ref, title, method, method_details, award_criteria, status, customer_bin, region_code, tender_sum::text as sum,
       currency, starts_at at time zone 'UTC' = '2023-01-10 06:00' as is_in_its_zone, tenderer_count as tenderers
     from procurement.tenders`,
  ),
  bids: await query(
    DATABASE_URL,
    'select source_ref, tenderer_bins, tenderer_bin, bid_sum::text as sum, status from procurement.bids order by source_ref',
  ),
  awards: await query(
    DATABASE_URL,
    'select source_ref, supplier_bin, award_sum::text as sum, status, awarded_on::text, classifications from procurement.awards',
  ),
});

const whole = {
  tenders: [
    {
      source_ref: ocid,
      title: 'Road',
      method: 'open',
      method_details: 'Open tender',
      award_criteria: 'priceOnly',
      status: 'complete',
      customer_bin: 'X-1',
      region_code: 'North',
      sum: '500.5',
      currency: 'MDL',
      is_in_its_zone: true,
      tenderers: 2,
    },
  ],
  bids: [
    { source_ref: `${ocid}/1`, tenderer_bins: ['X-11'], tenderer_bin: 'X-11', sum: '450', status: 'valid' },
    {
      source_ref: `${ocid}/2`,
      tenderer_bins: ['X-11', 'X-12'],
      tenderer_bin: null,
      sum: '470',
      status: 'disqualified',
    },
  ],
  awards: [
    {
      source_ref: `${ocid}/a`,
      supplier_bin: 'X-11',
      sum: '450',
      status: 'active',
      awarded_on: '2023-03-01',
      classifications: ['45233120', '71320000'],
    },
  ],
};

t.test('a record with all its releases: later parts add to earlier ones, and twice it is the same', async (t) => {
  await take('record.jsonl', [{ ocid, releases: [notice, opened, awarded] }]);
  t.strictSame(await stored(), whole);
  t.match(await take('again.jsonl', [{ ocid, releases: [awarded, opened, notice] }]), /records: 0 new, 0 changed/);
});

t.test('releases by themselves, in whatever order they come', async (t) => {
  await take('award.jsonl', [awarded]);
  await take('notice.jsonl', [notice]);
  t.match(
    await query(DATABASE_URL, 'select status, tenderer_bins from procurement.bids order by source_ref'),
    [{ status: 'valid', tenderer_bins: null }, { status: 'disqualified' }],
    'bids come before who made them',
  );
  await take('opened.jsonl', [opened]);
  t.strictSame(await stored(), whole);
});

t.test('what breaks a rule goes to the rejects, and stops nothing', async (t) => {
  await take('bad.jsonl', [
    { ...notice, tender: { ...notice.tender, tenderPeriod: { endDate: '2023-02-30' }, numberOfTenderers: 'many' } },
    {
      ...opened,
      bids: {
        details: [{ id: 1, status: 'lost' }, { status: 'valid' }, { id: 3, status: 'valid', value: { amount: -1 } }],
      },
    },
    { ...awarded, awards: [{ id: 'a', status: 'active', date: 'soon' }] },
  ]);
  t.strictSame(await query(DATABASE_URL, 'select line::int, kind, reason from procurement.rejects order by line, id'), [
    {
      line: 1,
      kind: 'tender',
      reason: 'ends_at: "2023-02-30" is not a time such as 2024-01-31T09:00:00Z. tenderer_count is not a count.',
    },
    { line: 2, kind: 'bid', reason: 'status: there is no "lost".' },
    { line: 2, kind: 'bid', reason: 'ref is missing.' },
    { line: 2, kind: 'bid', reason: 'bid_sum is below zero.' },
    { line: 3, kind: 'award', reason: 'awarded_on: "soon" is not a date such as 2024-01-31.' },
  ]);
  t.match((await stored()).tenders, [{ source_ref: ocid, status: 'complete' }], 'the others are taken');
});
