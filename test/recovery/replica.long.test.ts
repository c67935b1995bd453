import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import t, { type Test } from 'tap';
import type { ReplicaState } from '../../functions/replica.ts';
import { openActs } from '../events/acts.ts';
import { listen, until } from '../events/listen.ts';
import { runScript, temporaryFolder } from '../running-plinth.ts';
import { openWorld } from '../world.ts';
import { asPostgres, type Cluster, clusterFolder, makeCluster, programs } from './cluster.ts';

const skip = !programs && "needs Debian's postgresql, which .ci/run installs";
const maxLag = 3000;

/** A primary and its replica, which applies what it gets 300 ms late; both started. */
async function openPair(t: Test): Promise<{ primary: Cluster; standby: Cluster }> {
  const folder = await clusterFolder(t);
  const primary = await makeCluster(t, folder, 'primary');
  await primary.start();
  const standby = await makeCluster(t, folder, 'standby', {
    flags: '-c recovery_min_apply_delay=300ms -c wal_retrieve_retry_interval=200ms',
    make: (data, bin) =>
      asPostgres(path.join(bin, 'pg_basebackup'), ['-d', primary.url, '-D', data, '-R', '-c', 'fast', '--no-sync']),
  });
  await standby.start();
  return { primary, standby };
}

t.test('T11 queries run on a streaming replica', { skip }, async (t) => {
  const { primary, standby } = await openPair(t);
  process.env.TEST_DATABASE_URL = primary.url;
  const there = (databaseUrl: string): string =>
    standby.url.replace(/postgres$/, new URL(databaseUrl).pathname.slice(1));
  const world = await openWorld(t, {
    env: (url) => ({ READ_DATABASE_URL: there(url), READ_MAX_LAG_MS: String(maxLag) }),
  });
  const { ask, person, proxy, server } = world;
  const replica = async (): Promise<ReplicaState> => (await (await fetch(`${server.url}ready`)).json()).replica;
  const reaches = (state: string) => until(async () => (await replica()).state === state, `That it is ${state}`);
  const onStandby = async (sql: string): Promise<void> => {
    const client = new pg.Client({ connectionString: standby.url });
    await client.connect();
    await client.query(sql).finally(() => client.end());
  };
  const alice = await person('alice');
  const name = async (): Promise<string> => {
    const { data, errors } = await ask('{ me { displayName } }', {}, alice.token);
    if (errors) throw new Error(JSON.stringify(errors));
    return data.me.displayName;
  };
  const rename = (to: string) =>
    ask('mutation ($to: String) { updateProfile(input: { displayName: $to }) { user { id } } }', { to }, alice.token);

  /** Asks again and again until `act` is done: how many were answered. Throws where one was not. */
  async function underLoad(act: () => Promise<unknown>): Promise<number> {
    let done = false;
    let answered = 0;
    const asking = Array.from({ length: 8 }, async () => {
      while (!done) {
        await name();
        answered += 1;
      }
    });
    const acting = act().finally(() => {
      done = true;
    });
    await Promise.all([...asking, acting]);
    return answered;
  }

  t.equal(await name(), 'alice', 'a session that the replica may not know yet counts all the same');
  await reaches('used');
  await sleep(500);

  await t.test('and the primary has nothing to do with them', async (t) => {
    // A machine that stands still for as long as the replica may lag sends one of them there; but not each time.
    let strays = Number.POSITIVE_INFINITY;
    for (let tries = 0; tries < 5 && strays > 0; tries += 1) {
      await reaches('used');
      const before = (await replica()).queries;
      proxy.counted();
      for (let each = 0; each < 20; each += 1) await name();
      strays = proxy.counted().E ?? 0;
      if (strays === 0) t.equal((await replica()).queries, before + 20);
    }
    t.equal(strays, 0);
  });

  await t.test('everyone reads what they have written themselves', async (t) => {
    for (let each = 0; each < 20; each += 1) {
      await rename(`Alice ${each}`);
      t.equal(await name(), `Alice ${each}`);
      await sleep(each * 20);
    }
    const { queries } = await replica();
    await until(
      async () => (await name()) === 'Alice 19' && (await replica()).queries > queries,
      'That it answers again',
    );
  });

  await t.test('who was told of an event reads what it tells of', async (t) => {
    const bob = await person('bob');
    const { room, send } = openActs(world);
    const id = await room(alice, [bob]);
    const ear = listen(t, server.url, {
      query: 'subscription($id: UUID!) { messageEvents(channelId: $id) { message { text } } }',
      variables: { id },
      token: bob.token,
    });
    // So long, that a replica without this rule would answer.
    await sleep(1000);
    for (let each = 0; each < 5; each += 1) {
      await send(alice, id, `message ${each}`);
      const heard = await ear.next();
      t.equal(heard.data.messageEvents.message.text, `message ${each}`);
      const { data } = await ask('{ myChannels(first: 1) { nodes { lastMessage { text } } } }', {}, bob.token);
      t.equal(data.myChannels.nodes[0].lastMessage.text, `message ${each}`);
      await sleep(200);
    }
  });

  await t.test('a cursor of events comes from the primary', async (t) => {
    const cursor = async () => (await ask('{ cursor }')).data.cursor;
    const { handedOn } = await replica();
    await until(
      async () => /^\d/.test(await cursor()) && (await replica()).handedOn > handedOn,
      'That it is handed on',
    );
    for (let each = 0; each < 3; each += 1) t.match(await cursor(), /^\d/);
    t.equal((await replica()).handedOn, handedOn + 1, 'which is known after the first time');
  });

  await t.test('what is refused there is refused as on the primary', async (t) => {
    const { errors } = await ask(
      '{ me { id } }',
      {},
      await world.tokens.sign({ role: 'member', sub: alice.id, sid: alice.id }),
    );
    t.equal(errors?.[0]?.extensions?.code, 'UNAUTHENTICATED');
  });

  await t.test('none that is behind', async (t) => {
    await onStandby('select pg_wal_replay_pause()');
    await world.owner.query(`update identity.users set display_name = 'Behind'`);
    await reaches('behind');
    t.equal(await name(), 'Behind');
    const metrics = await (await fetch(`${server.url}metrics`)).text();
    t.match(metrics, /^plinth_replica_lost 1$/m);
    await onStandby('select pg_wal_replay_resume()');
    await reaches('used');
    t.equal(await name(), 'Behind');
    t.match(await (await fetch(`${server.url}metrics`)).text(), /^plinth_replica_lost 0$/m);
  });

  await t.test('it is killed under load, and no request fails', async (t) => {
    const answered = await underLoad(async () => {
      await sleep(300);
      await standby.stop('immediate');
      await reaches('lost');
      await sleep(300);
      await standby.start();
      await reaches('used');
      await sleep(300);
    });
    t.ok(answered > 100, `${answered} answers`);
    t.equal((await fetch(`${server.url}ready`)).status, 200);
    const { queries } = await replica();
    await until(async () => (await name()) !== '' && (await replica()).queries > queries, 'That it answers again');
  });

  await t.test('it stands still without a word, and no request fails', async (t) => {
    const postmaster = readFileSync(path.join(standby.data, 'postmaster.pid'), 'utf8').split('\n')[0] as string;
    const family = (): number[] =>
      execFileSync('ps', ['-o', 'pid=', '--pid', postmaster, '--ppid', postmaster], { encoding: 'utf8' })
        .trim()
        .split('\n')
        .map(Number);
    let stopped: number[] = [];
    t.teardown(() => {
      for (const pid of stopped) process.kill(pid, 'SIGCONT');
    });
    const answered = await underLoad(async () => {
      await sleep(200);
      stopped = family();
      for (const pid of stopped) process.kill(pid, 'SIGSTOP');
      await reaches('lost');
      await sleep(300);
      for (const pid of stopped.splice(0)) process.kill(pid, 'SIGCONT');
      await reaches('used');
    });
    t.ok(answered > 50, `${answered} answers`);
  });

  await t.test('a database that was restored in the place of the former is read there as well', async (t) => {
    const env = { DATABASE_URL: world.databaseUrl, PLINTH_DATA: temporaryFolder(t), LOG_LEVEL: 'silent' };
    const made = await runScript('backup', [], env);
    t.equal(made.status, 0, made.stderr);
    const [, backup = ''] = /^(\w+-\w+): /m.exec(made.stdout) ?? [];
    const { queries } = await replica();
    const restored = await runScript('restore', [backup, '--yes', '--keep'], env);
    t.equal(restored.status, 0, restored.stderr);
    await until(
      async () => (await world.owner.query('select from events.restores')).rowCount === 1,
      'The restored one',
    );
    await world.owner.query(`update identity.users set display_name = 'Restored'`);
    await until(async () => (await name()) === 'Restored' && (await replica()).queries > queries, 'That it answers');
    await reaches('used');
  });

  await t.test('once it is promoted it is no replica any more', async (t) => {
    await onStandby('select pg_promote()');
    await reaches('lost');
    await rename('On the primary');
    t.equal(await name(), 'On the primary');
  });
});
