import pino from 'pino';
import t from 'tap';
import { readSettings } from '../../functions/settings.ts';
import { startWorkers } from '../../workers/workers.ts';
import { openProxy } from '../postgres-proxy.ts';
import { openJobsWorld, taskOf } from './jobs-world.ts';

t.test(
  'E3 D8 how a run ended is said again where the connection was lost meanwhile, and it is not run again',
  async (t) => {
    const world = await openJobsWorld(t);
    await world.sql("insert into jobs.tasks (name) values ('outside')");
    const proxy = await openProxy(world.databaseUrl);
    t.teardown(proxy.close);
    let runs = 0;
    const outside = taskOf('outside', async () => {
      runs += 1;
      proxy.cut();
      return { done: true };
    });
    const retries: { what: string }[] = [];
    const { stop } = await startWorkers({
      databaseUrl: proxy.url,
      settings: readSettings({ PLINTH_ENV: 'development' }),
      tasks: [outside],
      log: pino(
        { base: null },
        {
          write(line: string) {
            const { msg, ...said } = JSON.parse(line);
            if (msg !== 'Trying again.') return;
            retries.push(said);
            proxy.mend();
          },
        },
      ),
    });
    t.teardown(stop);
    const [asked] = await world.sql("select (jobs.enqueue('outside')).id");
    t.match(await world.ended(asked?.id), { state: 'succeeded', attempt: 1, result: { done: true } });
    t.match(retries, [{ what: 'a run succeeded', policy: 'db', attempt: 1 }]);
    t.equal(runs, 1);
  },
);
