import t from 'tap';
import { withOwner } from '../../scripts/chaos/database.ts';
import { openPostgres } from '../../scripts/chaos/postgres.ts';

t.setTimeout(110_000);

t.test(
  'what is new since a cursor stays new when Postgres falls and gives the numbers of transactions again',
  async (t) => {
    const postgres = await openPostgres(() => {});
    t.teardown(() => postgres.close());
    const publish = 'select events.publish($1, $2)';
    const cursor = await withOwner(postgres.url, async (owner) => {
      await owner.query("alter system set wal_writer_delay = '10s'");
      await owner.query('select pg_reload_conf()');
      await owner.query(publish, ['system:test', 'before']);
      // Each takes a number and writes nothing that must last: it is seen to have ended before that is on disk.
      for (let count = 0; count < 10; count += 1) await owner.query("select pg_notify('nobody', '')");
      return (await owner.query('select events.cursor()')).rows[0].cursor;
    });
    await postgres.kill();
    await postgres.start();
    await withOwner(postgres.url, async (owner) => {
      await owner.query(publish, ['system:test', 'after']);
      const since = 'select type from events._new_in_log($1, pg_current_snapshot(), $2, $3, 0)';
      const { rows } = await owner.query(since, [cursor, '-infinity', '']);
      t.same(rows, [{ type: 'after' }]);
      const seqs = 'select events._seqs_at($1, $2, $3)::text[] as seqs';
      const seen = (await owner.query(seqs, [['system:test'], [2], cursor])).rows[0].seqs;
      t.same(seen, ['1'], 'and it stands at the event before');
    });
  },
);
