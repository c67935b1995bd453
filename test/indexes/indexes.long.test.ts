import t from 'tap';
import { openWorld } from '../world.ts';
import { access } from './access.ts';
import { accounts } from './accounts.ts';
import { chat } from './chat.ts';
import { commerce } from './commerce.ts';
import { events } from './events.ts';
import { files } from './files.ts';
import { identity } from './identity.ts';
import { jobs } from './jobs.ts';
import { notifications } from './notifications.ts';
import { operations } from './operations.ts';
import { organizations } from './organizations.ts';
import { platforms } from './platforms.ts';
import { presence } from './presence.ts';
import { procurement } from './procurement.ts';
import { publicSchema } from './public.ts';
import type { Section } from './section.ts';
import { stats } from './stats.ts';
import { webhooks } from './webhooks.ts';

const { owner } = await openWorld(t);

// Each one's rows stand on those of the ones before.
const sections = [
  publicSchema,
  identity,
  access,
  events,
  jobs,
  stats,
  operations,
  chat,
  organizations,
  files,
  accounts,
  webhooks,
  platforms,
  commerce,
  notifications,
  presence,
  procurement,
];
const uses: Section['uses'] = Object.assign({}, ...sections.map((section) => section.uses));

await owner.query(`
  -- Without triggers: that so much happens at once is not to be told.
  set session_replication_role = replica;
  select operations.ensure_partitions(now() - interval '2 months');
  select operations.ensure_partitions('2026-01-01');
  ${sections.map(({ rows }) => rows).join('')}
  reset session_replication_role;
  select events.publish('user:' || n, 'told') from generate_series(1, 3000) as n;
`);
await owner.query('vacuum analyze');

/** The indexes in the plans of a statement and of all that it runs inside; nothing of what it does stays. */
async function indexesIn(statement: string): Promise<Set<string>> {
  const client = await owner.connect();
  const plans: string[] = [];
  const take = ({ message = '' }: { message?: string | undefined }) => void plans.push(message);
  client.on('notice', take);
  try {
    await client.query(`begin; load 'auto_explain';
      set local auto_explain.log_min_duration = 0; set local auto_explain.log_nested_statements = on; set local auto_explain.log_level = notice;
      select set_config('plinth.user_id', id::text, true) from identity.users where username = 'user77'`);
    plans.length = 0;
    await client.query(statement);
    await client.query('set constraints all immediate');
  } finally {
    client.off('notice', take);
    await client.query('rollback');
    client.release();
  }
  return new Set(
    plans.flatMap((plan) => [...plan.matchAll(/(?:using|on|Arbiter Indexes:) (\w+)/g)].map(([, name = '']) => name)),
  );
}

t.test('every index answers a statement that someone runs', async (t) => {
  const { rows } = await owner.query<{ name: string; is_unique: boolean; names: string[] }>(`
    select namespace.nspname || '.' || class.relname as name, index.indisunique as is_unique,
      array_append(array(select relid::regclass::text from pg_partition_tree(class.oid)), class.relname::text) as names
    from pg_index as index join pg_class as class on class.oid = index.indexrelid
    join pg_namespace as namespace on namespace.oid = class.relnamespace
    where namespace.nspname !~ '^pg_' and not class.relispartition
      and not exists (select from pg_depend where objid = class.oid and deptype = 'e')`);
  t.strictSame(
    rows.map(({ name }) => name).sort(),
    Object.keys(uses).sort(),
    'the indexes are those that are named here',
  );
  for (const { name, is_unique, names } of rows) {
    const statement = uses[name];
    if (!statement) {
      t.ok(is_unique, `${name} keeps a rule`);
      continue;
    }
    const seen = await indexesIn(statement);
    t.ok(
      names.some((each) => seen.has(each.replace(/^.*\./, ''))),
      `${name} is used`,
      { statement, seen: [...seen] },
    );
  }
});

t.test('no index does what another one does', async (t) => {
  const { rows } = await owner.query(`
    with indexes as (
      select indexrelid::regclass::text as name, indrelid, indisunique as is_unique, relam, coalesce(pg_get_expr(indpred, indrelid), '') as where,
        array(select pg_get_indexdef(indexrelid, n, false) from generate_series(1, indnkeyatts) as n order by n) as columns
      from pg_index join pg_class on pg_class.oid = indexrelid join pg_namespace on pg_namespace.oid = relnamespace
      where nspname !~ '^pg_' and not relispartition
    )
    select index.name, other.name as covered_by
    from indexes as index
    join indexes as other on other.indrelid = index.indrelid and other.name <> index.name and other.relam = index.relam
      and other.columns[1:cardinality(index.columns)] = index.columns and other.where = index.where
    where not index.is_unique or (other.is_unique and other.columns = index.columns)`);
  t.strictSame(rows, []);
});
