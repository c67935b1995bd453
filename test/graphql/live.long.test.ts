import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import t, { type Test } from 'tap';
import { Refusal } from '../../functions/refusal.ts';
import { serverUrl } from '../../functions/server-role.ts';
import { readSettings } from '../../functions/settings.ts';
import { followDatabase } from '../../graphql/live.ts';
import { type Server, startServer } from '../../graphql/server.ts';
import { until } from '../events/listen.ts';
import { openProxy } from '../postgres-proxy.ts';
import { openWorld } from '../world.ts';

// Each is a change that the API cannot carry, what the message has to name, and how to take it back.
const unservable: [name: string, change: string, told: RegExp, back: string][] = [
  [
    'two types of one name',
    'create table live.messages (id integer primary key)',
    /called Message .*chat\.messages.*live\.messages/s,
    'drop table live.messages',
  ],
  [
    'a type of the name of a scalar',
    'create table live.dates (id integer primary key)',
    /called Date .*live\.dates/s,
    'drop table live.dates',
  ],
  [
    'two fields of one name',
    'create function live.name(channel chat.channels) returns text language sql stable return null',
    /called name .*column name of chat\.channels.*function live\.name\(chat\.channels\)/s,
    'drop function live.name',
  ],
  [
    'two functions of one name',
    'create function live.me() returns text language sql stable return null',
    /called me .*function identity\.me.*function live\.me/s,
    'drop function live.me',
  ],
  [
    'two functions of one name in one schema',
    'create function live.over(a integer) returns text language sql stable return null; create function live.over(b text) returns text language sql stable return null',
    /live\.over\(integer\).*live\.over\(text\)/s,
    'drop function live.over(integer); drop function live.over(text)',
  ],
  [
    'a range',
    'alter table live.rows add span int4range',
    /live\.rows\.span is of type int4range/s,
    'alter table live.rows drop span',
  ],
  [
    'a tag that there is not',
    "comment on table live.rows is 'Rows. \n@hidden'",
    /live\.rows.*@hidden/s,
    'comment on table live.rows is null',
  ],
  [
    'an order that there is not',
    "comment on table live.rows is '@order nowhere'",
    /live\.rows.*nowhere/s,
    'comment on table live.rows is null',
  ],
  [
    'a column of a type that there is not',
    'alter table live.rows add place point',
    /live\.rows\.place.*point/s,
    'alter table live.rows drop place',
  ],
  [
    'a column of a name that GraphQL does not allow',
    'alter table live.rows add "1st" text',
    /column 1st of .*rows/s,
    'alter table live.rows drop "1st"',
  ],
  [
    'a label that GraphQL does not allow',
    "create type live.odd as enum ('Not this'); alter table live.rows add odd live.odd",
    /live\.odd.*Not this/s,
    'alter table live.rows drop odd; drop type live.odd',
  ],
  [
    'a column of the name of a condition',
    'alter table live.rows add "not" text; create index on live.rows ("not")',
    /column not of .*rows/s,
    'alter table live.rows drop "not"',
  ],
  [
    'an argument without a name',
    'create function live.double(integer) returns integer language sql stable return $1 * 2',
    /without a name.*live\.double/s,
    'drop function live.double',
  ],
  [
    'an argument of the name of a page',
    'create function live.some_rows(first integer) returns setof live.rows language sql stable begin atomic select * from live.rows; end',
    /first of function live\.some_rows/s,
    'drop function live.some_rows',
  ],
];

t.test('D9 DDL on a live database', async (t) => {
  const { ask, owner, logged, databaseUrl } = await openWorld(t);
  await owner.query(`
    create schema live;
    grant usage on schema live to anonymous;
    alter default privileges in schema live grant select on tables to anonymous;
    create table live.rows (id integer primary key)`);
  const fieldsOf = async (type: string): Promise<{ name: string; description: string }[]> => {
    const answer = await ask('query ($type: String!) { __type(name: $type) { fields { name description } } }', {
      type,
    });
    return answer.data?.__type?.fields ?? [];
  };
  const has = (type: string, name: string) => async (): Promise<boolean> =>
    (await fieldsOf(type)).some((field) => field.name === name);

  t.test('is served within a second, without a restart', async (t) => {
    const query = '{ things(orderBy: ID_ASC) { nodes { id said } totalCount } }';
    t.match(await ask(query), { errors: [{ extensions: { code: 'BAD_REQUEST' } }] });
    const made = until(async () => !(await ask(query)).errors);
    await owner.query(`
      create table live.things (id integer primary key, said text);
      comment on column live.things.said is 'What it said.';
      insert into live.things values (1, 'hello')`);
    await made;
    t.same((await ask(query)).data.things, { nodes: [{ id: 1, said: 'hello' }], totalCount: 1 });
    t.match(
      (await fieldsOf('Thing')).find(({ name }) => name === 'said'),
      { description: 'What it said.' },
    );

    await owner.query("comment on column live.things.said is 'Its words.\n@name words'");
    await until(has('Thing', 'words'));
    t.match(await ask('{ thing(id: 1) { words } }'), { data: { thing: { words: 'hello' } } });
    await owner.query('revoke select on live.things from anonymous; grant select (id) on live.things to anonymous');
    await until(async () => !(await has('Thing', 'words')()));
    await owner.query('drop table live.things');
    await until(async () => !(await has('Query', 'things')()));
  });

  t.test('that cannot be served leaves the API as it was, and is told once in the log', async (t) => {
    for (const [name, change, told, back] of unservable) {
      logged.length = 0;
      await owner.query(change);
      await until(async () => logged.some(({ level }) => level === 50));
      const errors = logged.filter(({ level }) => level === 50);
      t.match(errors, [{ error: told, remedy: /\w+/, msg: /cannot be served/ }], name);
      t.match(
        await ask('{ rows { totalCount } me { username } }'),
        { data: { rows: { totalCount: 0 }, me: null } },
        name,
      );
      await startsNot(t, databaseUrl, told, name);
      await owner.query(back);
    }
    // What comes after is served again.
    await owner.query('alter table live.rows add fine text');
    await until(has('Row', 'fine'));
    t.pass();
  });

  t.test('is served where the catalog could not be read at first, and nothing changes after it', async (t) => {
    const lock = await owner.connect();
    await lock.query('begin; lock table public.error_codes in access exclusive mode');
    await owner.query('create table live.lates (id integer primary key)');
    const cancel = `
      select pg_cancel_backend(pid) from pg_stat_activity
      where datname = current_database() and application_name = 'plinth listener' and wait_event_type = 'Lock'`;
    await until(async () => (await owner.query(cancel)).rowCount === 1, 'That it reads');
    await lock.query('commit');
    lock.release();
    await until(has('Late', 'id'), 'That it is served');
    t.match(
      logged.find(({ msg }) => /catalog cannot be read/.test(String(msg))),
      { level: 40, error: /cancel/ },
    );
  });

  t.test('that does not end is served meanwhile', async (t) => {
    let hasEnded = false;
    // Without a pause for the disk, either.
    const changes = owner.query(`
      do $$
      declare
        ends_at constant timestamptz := clock_timestamp() + '15 s';
      begin
        set synchronous_commit = off;
        create table live.streams (id integer primary key);
        while clock_timestamp() < ends_at and not exists (select from live.rows) loop
          execute format('comment on table live.rows is %L', clock_timestamp());
          commit;
          perform pg_sleep(0.005);
        end loop;
        reset synchronous_commit;
      end $$`);
    void changes.then(() => {
      hasEnded = true;
    });
    let isServed = false;
    while (!hasEnded && !isServed) {
      await sleep(200);
      isServed = await has('Stream', 'id')();
    }
    t.ok(isServed && !hasEnded);
    await owner.query('insert into live.rows (id) values (1)');
    await changes;
  });

  t.test('is noticed where no superuser made the event trigger, too', async (t) => {
    await owner.query('drop event trigger plinth_ddl');
    const server = await start(databaseUrl);
    t.teardown(server.close);
    const query = JSON.stringify({ query: '{ laters { totalCount } }' });
    const served = async (): Promise<boolean> => {
      const response = await fetch(`${server.url}graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: query,
      });
      return !(await response.json()).errors;
    };
    t.notOk(await served());
    await owner.query('create table live.laters (id integer primary key)');
    await until(served);
  });
});

function start(databaseUrl: string): Promise<Server> {
  return startServer({
    settings: readSettings({ PORT: '0', HOST: '127.0.0.1' }),
    keys: [{ kid: 'test', key: new Uint8Array(32) }],
    databaseUrl,
    log: pino({ level: 'silent' }),
    deliver: async () => {},
  });
}

t.test('a first connection that fails is told, and leaves nothing behind', async (t) => {
  const { databaseUrl } = await openWorld(t);
  const follow = (url: string): Promise<unknown> =>
    followDatabase(url, pino({ level: 'silent' }), () => {}).catch((error) => error);
  t.match(await follow('postgres://nobody@127.0.0.1:1/none'), { code: 'ECONNREFUSED' });
  const nowhere = new URL(databaseUrl);
  nowhere.pathname = 'nowhere';
  t.match(await follow(nowhere.href), { code: '3D000' });
});

t.test('D8 D9 DDL is heard again when a server that was gone without a word is there again', async (t) => {
  const { owner, databaseUrl } = await openWorld(t);
  const proxy = await openProxy(await serverUrl(databaseUrl));
  t.teardown(proxy.close);
  const live = await followDatabase(proxy.url, pino({ level: 'silent' }), () => {}, 3000);
  t.teardown(live.close);
  const serves = (type: string) => () => Boolean(live.current.schema.getType(type));
  await owner.query(`
    create schema live;
    grant usage on schema live to anonymous;
    alter default privileges in schema live grant select on tables to anonymous;
    create table live.befores (id integer primary key)`);
  await until(serves('Before'), 'What came before');
  proxy.freeze();
  await owner.query('create table live.afters (id integer primary key)');
  t.notOk(serves('After')());
  await until(serves('After'), 'What came after');
});

/** At the start the same change is a message with a remedy, and nothing is left running. */
async function startsNot(t: Test, databaseUrl: string, told: RegExp, name: string): Promise<void> {
  const error = await start(databaseUrl).then(
    (server) => server.close().then(() => undefined),
    (thrown) => thrown,
  );
  t.ok(error instanceof Refusal, name);
  t.match(error, { message: told, remedy: /\w+/ }, name);
}

t.test('a view that serves rows past row level security is warned of, at the start and when it is made', async (t) => {
  const { owner, server, logged } = await openWorld(t);
  t.ok(server);
  const warned = () =>
    logged.filter(({ msg }) => /past row level security/.test(String(msg))).map(({ views }) => views);
  t.same(warned(), [], 'of those of schema.sql nobody need be warned: they say that they are meant so');
  await owner.query(`
    create schema live;
    grant usage on schema live to member;
    create view live.everything as select id, text from chat.messages;
    create view live.mine with (security_invoker) as select id, text from chat.messages;
    create view live.meant as select id, text from chat.messages;
    create view live.hidden as select id, text from chat.messages;
    create materialized view live.copy as select id from chat.messages;
    comment on view live.meant is e'All of them.\n@asOwner';
    grant select on live.everything, live.mine, live.meant, live.copy to member`);
  await until(async () => warned().length > 0);
  t.same(warned(), [['live.copy', 'live.everything']]);
  await owner.query('alter view live.everything set (security_invoker = on); grant select on live.hidden to member');
  await until(async () => warned().length > 1);
  t.same(warned()[1], ['live.hidden'], 'what was told is not told again');
});
