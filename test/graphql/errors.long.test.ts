import t from 'tap';
import { until } from '../events/listen.ts';
import { type Answer, openWorld, schemaWith } from '../world.ts';

const failing = `
create function things.fail(sqlstate text) returns boolean
language plpgsql volatile set search_path = ''
as $$
begin
  raise exception using errcode = sqlstate, message = 'row 17 of secret_table has 4111-1111', detail = 'secret detail',
    hint = 'Ask otherwise.', column = 'sql_state', constraint = 'it_is_as_it_should_be', table = 'secret_table';
end;
$$;
create function things.add_box(id integer, name text default null) returns things.boxes
language sql volatile security definer set search_path = ''
as $$ insert into things.boxes (id, name) values (id, name) returning *; $$;
create function things.divide(by integer) returns integer
language sql volatile set search_path = ''
as $$ select 1 / by $$;
create function things.stay() returns boolean
language sql stable security definer set search_path = ''
as $$ select pg_catalog.pg_advisory_xact_lock_shared(7) is not null $$;
create function things.work() returns boolean
language sql volatile security definer set search_path = ''
as $$ select pg_catalog.pg_advisory_xact_lock_shared(7) is not null $$;
grant execute on function things.stay, things.work, things.fail, things.add_box, things.divide to anonymous;
grant select on things.boxes to anonymous;
create table things.closed (id integer primary key, secret text);
alter table things.closed enable row level security;
grant select on things.closed to member;
`;
const schema = schemaWith('things') + failing;

t.test('D10 D14 errors tell what a client can do something about, and nothing else', async (t) => {
  const world = await openWorld(t, { schema, env: { LOG_LEVEL: 'info' } });
  const { ask, owner, logged } = world;
  const fail = (sqlstate: string) =>
    ask('mutation ($sqlstate: String!) { fail(input: { sqlstate: $sqlstate }) { result } }', { sqlstate });

  t.test('each SQLSTATE of public.error_codes has its code and its message', async (t) => {
    const { rows } = await owner.query('select * from public.error_codes order by sqlstate');
    t.ok(rows.length >= 20);
    for (const { sqlstate, code, description } of rows) {
      const raised = sqlstate.length === 5 ? sqlstate : `${sqlstate}000`;
      const { data, errors } = await fail(raised);
      const ours = sqlstate.startsWith('PT');
      const message = ours
        ? 'row 17 of secret_table has 4111-1111' // what our own functions say is meant for clients
        : sqlstate === '23514'
          ? 'It is as it should be.'
          : description;
      const told = ours ? { argument: 'sqlState', hint: 'Ask otherwise.' } : {};
      t.same(data, { fail: null });
      t.strictSame(
        errors,
        [{ message, extensions: { code, ...told, constraint: 'it_is_as_it_should_be' }, path: ['fail'] }],
        raised,
      );
    }
  });

  t.test('what nobody foresaw is masked, and stands in the log under the id that the client gets', async (t) => {
    for (const sqlstate of ['XX000', 'P0001', '42P01', '0A000', '42883']) {
      const { errors } = await fail(sqlstate);
      const id = errors?.[0]?.extensions?.id;
      t.same(
        errors,
        [{ message: 'Something went wrong on our side.', extensions: { code: 'INTERNAL', id }, path: ['fail'] }],
        sqlstate,
      );
      const entry = logged.find((each) => each.id === id && each.err);
      t.match(entry, { level: 50, err: { message: 'row 17 of secret_table has 4111-1111', code: sqlstate } });
    }
  });

  t.test('what constraints refuse, in words', async (t) => {
    const add = (args: string) => ask(`mutation { addBox(input: { ${args} }) { box { id } } }`);
    t.match(await add('id: 1, name: "one"'), { data: { addBox: { box: { id: 1 } } } });
    t.match(await add('id: 1, name: "again"'), {
      errors: [{ message: 'It exists already.', extensions: { code: 'CONFLICT', constraint: 'boxes_pkey' } }],
    });
    t.match(await add('id: 2, name: ""'), {
      errors: [
        { message: 'Name is not empty.', extensions: { code: 'BAD_USER_INPUT', constraint: 'name_is_not_empty' } },
      ],
    });
    t.match(await add('id: 3'), {
      errors: [{ message: 'A value is missing.', extensions: { code: 'BAD_USER_INPUT' } }],
    });
    t.match(await ask('mutation { divide(input: { by: 0 }) { result } }'), {
      errors: [{ extensions: { code: 'BAD_USER_INPUT' } }],
    });
  });

  t.test('what is not granted', async (t) => {
    t.match(await ask('{ closeds { totalCount } }'), { data: null, errors: [{ extensions: { code: 'FORBIDDEN' } }] });
    t.match(await ask('mutation { logOut { ok } }'), {
      errors: [{ message: 'The caller may not do this.', extensions: { code: 'FORBIDDEN' } }],
    });
  });

  t.test('a privilege that is missing is told whole in the log, for a DBA', async (t) => {
    logged.length = 0;
    t.match(await ask('{ closeds { totalCount } }'), { errors: [{ message: 'The caller may not do this.' }] });
    t.match(
      logged.filter(({ level }) => level === 40),
      [{ code: '42501', error: /^permission denied for table closed/, id: /\w+/ }],
    );
  });

  t.test('no answer has SQL, a stack or rows of others in it', async (t) => {
    const telling = /select |insert |pg_|\.ts:|node_modules| at \w+ \(|secret|4111|things\./i;
    for (const query of [
      'mutation { fail(input: { sqlstate: "XX000" }) { result } }',
      'mutation { fail(input: { sqlstate: "23505" }) { result } }',
      'mutation { addBox(input: { id: 1, name: "again" }) { box { id } } }',
      '{ closeds { nodes { secret_ : id } } }',
      '{ thing(id: "99999999999999999999") { id } }',
      '{ thing(id: "9223372036854775808") { id } }',
      '{ things(after: "x") { totalCount } }',
      '{ nothing',
      '{ thing(id: "1") { nope } }',
      'subscription { nothing }',
    ]) {
      const answer = await ask(query);
      t.ok(answer.errors, query);
      t.notMatch(JSON.stringify(answer), telling, query);
    }
  });
});

t.test('D10 a database that comes and goes', async (t) => {
  const world = await openWorld(t, { schema });
  const { ask, owner, proxy, server } = world;
  const ready = async () => {
    const response = await fetch(`${server.url}ready`);
    return { status: response.status, body: await response.json() };
  };

  /** Ends the server's connections, those that run something of that name. */
  const end = async (name: string): Promise<number> => {
    const { rowCount } = await owner.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
      where application_name = 'plinth' and datname = current_database() and query like $1 and ($1 = '%%' or state = 'active')`,
      [`%${name}%`],
    );
    return rowCount ?? 0;
  };
  /** Asks for what waits for a lock, and ends the connection that it runs on before it gets that. */
  const askAndEnd = async (query: string, name: string): Promise<Answer> => {
    const lock = await owner.connect();
    await lock.query('select pg_advisory_lock(7)');
    const answer = ask(query);
    await until(async () => (await end(name)) > 0, `A connection that runs ${name}`);
    await lock.query('select pg_advisory_unlock(7)');
    lock.release();
    return answer;
  };

  t.test('a query whose connection is lost is asked again', async (t) => {
    t.match(await ask('{ boxes { totalCount } }'), { data: { boxes: {} } });
    t.ok(await end(''));
    const answers = await Promise.all(Array.from({ length: 5 }, () => ask('{ boxes { totalCount } }')));
    for (const answer of answers) t.same(answer, { data: { boxes: { totalCount: 0 } } });

    t.same(await askAndEnd('{ stay }', 'stay'), { data: { stay: true } }, 'one that ran, too');
  });

  t.test('a mutation whose connection is lost is not: nobody knows whether it was done', async (t) => {
    const answer = await askAndEnd('mutation { work { result } }', 'work');
    t.match(answer, { data: { work: null }, errors: [{ extensions: { code: 'UNAVAILABLE' } }] });
  });

  t.test('while it is away it is said so, and the process lives on', async (t) => {
    t.match(await ready(), { status: 200, body: { status: 'ready', database: { reachable: true } } });
    proxy.cut();
    t.match(await ask('{ boxes { totalCount } }'), { errors: [{ extensions: { code: 'UNAVAILABLE' } }] });
    t.match(await ask('mutation { divide(input: { by: 1 }) { result } }'), {
      errors: [{ extensions: { code: 'UNAVAILABLE' } }],
    });
    t.match(await ready(), { status: 503, body: { status: 'unavailable' } });
    t.same((await ready()).body.database, { reachable: false }, 'and says no more');
    t.equal((await fetch(`${server.url}health`)).status, 200);
  });

  t.test('when it is back, so is everything', async (t) => {
    proxy.mend();
    t.match(await ask('{ boxes { totalCount } }'), { data: { boxes: { totalCount: 0 } } });
    t.match(await ask('mutation { divide(input: { by: 1 }) { result } }'), { data: { divide: { result: 1 } } });
    t.match(await ready(), { status: 200 });
    // What changed while nobody listened is noticed too.
    await owner.query('create table things.late (id integer primary key); grant select on things.late to anonymous');
    let answer = await ask('{ lates { totalCount } }');
    for (let tries = 0; tries < 60 && answer.errors; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      answer = await ask('{ lates { totalCount } }');
    }
    t.match(answer, { data: { lates: { totalCount: 0 } } });
  });
});
