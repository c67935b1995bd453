import { type Ground, type Report, runFile } from './ground.ts';
import { median, rounded } from './rounds.ts';

const sizes = [100, 10_000, 100_000];
const asked = 200;

/** What is asked, and of whom: the number of a person in office.sql, from a random one. */
const cases: Record<string, { statement: string; who(random: number): number }> = {
  'nothing is asked: the way there and back': {
    statement: 'select $1 is not null as ok',
    who: (random) => random,
  },
  'by a system role': {
    statement: "select (organizations.permission($1, 'read', 'documents')).through = 'system_role' as ok",
    who: (random) => random - (random % 10) + 3,
  },
  'by a role of its own': {
    statement: "select (organizations.permission($1, 'write', 'documents')).through = 'role' as ok",
    who: (random) => random - (random % 10) + 4,
  },
  'by the first of 5 proxies': {
    statement: "select (organizations.permission($1, 'write', 'payments')).through = 'proxy' as ok",
    who: (random) => random - (random % 10) + 9,
  },
  'by the first of 100 proxies': {
    statement: "select (organizations.permission($1, 'write', 'archive')).through = 'proxy' as ok",
    who: () => 12,
  },
  'by nothing': {
    statement: "select not (organizations.permission($1, 'burn', 'payments')).is_allowed as ok",
    who: (random) => random - (random % 10) + 3,
  },
  'in a function or policy': {
    statement: "select organizations.can($1, 'read', 'documents') as ok",
    who: (random) => random - (random % 10) + 3,
  },
  'all departments, through their policy': {
    statement: 'select count(*) = 200 as ok from organizations.departments where organization_id = $1',
    who: (random) => random - (random % 10) + 3,
  },
  'a page of 20 members, through their policy': {
    statement:
      'select count(*) = 20 as ok from (select user_id from organizations.memberships where organization_id = $1 order by user_id limit 20) as page',
    who: (random) => random - (random % 10) + 3,
  },
};

type Cost = { ms: number; buffers: number };

/**
 * What "may U do A on R now, and through what?" costs as an organization grows, of 200 people as a member: milliseconds of the statement
 * alone (the median; of each the fastest of three), the buffers of 8 kB that it reads, which no other work on the machine changes, and how
 * much more that is than at 100 members.
 */
export async function benchPermissions(ground: Ground, quick: boolean, report: Report) {
  const { owner } = ground;
  const costs = new Map<string, Cost[]>();
  for (const size of quick ? sizes.slice(0, 2) : sizes) {
    const began = performance.now();
    await owner.query("select set_config('bench.size', $1, false)", [size]);
    await runFile(owner, 'office.sql');
    await owner.query('vacuum analyze');
    report(`${size.toLocaleString('en')} members: ${((performance.now() - began) / 1000).toFixed(1)} s`);
    for (const name of Object.keys(cases))
      costs.set(name, [...(costs.get(name) ?? []), await measure(ground, name, size)]);
  }
  return [...costs].map(([name, measured]) => {
    const buffers = measured.map((each) => each.buffers);
    return {
      name,
      ...Object.fromEntries(
        measured.flatMap(({ ms, buffers }, n) => [
          [`ms at ${sizes[n]?.toLocaleString('en')}`, rounded(ms)],
          [`buffers at ${sizes[n]?.toLocaleString('en')}`, buffers],
        ]),
      ),
      growth: rounded(Math.max(...buffers) / (buffers[0] || 1)),
    };
  });
}

/** @throws where an answer is not the one that the case expects. */
async function measure({ owner }: Ground, name: string, size: number): Promise<Cost> {
  const { statement, who } = cases[name] as (typeof cases)[string];
  const { rows } = await owner.query('select id from organizations.organizations');
  // As on the server: one plan, whatever the values.
  await owner.query('set plan_cache_mode = force_generic_plan');
  const took: number[] = [];
  const read: number[] = [];
  for (let n = 0; n < asked; n += 1) {
    const person = who(20 + Math.floor(Math.random() * (size - 30)));
    await owner.query("select set_config('plinth.user_id', id::text, false) from identity.users where username = $1", [
      `office-${person}`,
    ]);
    await owner.query('set role member');
    let least = Number.POSITIVE_INFINITY;
    for (let time = 0; time < 3; time += 1) {
      const began = performance.now();
      const answer = await owner.query({
        name: `${name} ${size}`,
        text: statement.replace('$1', '$1::uuid'),
        values: [rows[0].id],
      });
      least = Math.min(least, performance.now() - began);
      if (!answer.rows[0].ok) throw new Error(`${name}: person ${person} of ${size} was answered wrongly`);
    }
    took.push(least);
    const explained = await owner.query(
      `explain (analyze, buffers, format json) ${statement.replace('$1', `'${rows[0].id}'::uuid`)}`,
    );
    const { Plan } = explained.rows[0]['QUERY PLAN'][0];
    read.push(Plan['Shared Hit Blocks'] + Plan['Shared Read Blocks']);
    await owner.query('reset role');
  }
  return { ms: median(took), buffers: median(read) };
}
