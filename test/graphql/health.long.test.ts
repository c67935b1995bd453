import { randomBytes } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { SignJWT } from 'jose';
import pino from 'pino';
import t from 'tap';
import { readSettings } from '../../functions/settings.ts';
import { openTokens } from '../../functions/tokens.ts';
import { startServer } from '../../graphql/server.ts';
import { until } from '../events/listen.ts';
import { openWorld } from '../world.ts';

const query = (text: string, headers: Record<string, string> = {}): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify({ query: text }),
});

t.test('D10 D14 what stands around GraphQL', async (t) => {
  const world = await openWorld(t, { env: { CORS_ORIGINS: 'https://app.example,http://localhost:3000' } });
  const { server, logged, person } = world;
  const graphql = `${server.url}graphql`;

  t.test('/health is of the process, /ready of all that it stands on', async (t) => {
    const health = await fetch(`${server.url}health`);
    t.match([health.status, await health.json()], [200, { status: 'ok', uptime: Number }]);
    const ready = await fetch(`${server.url}ready`);
    t.match(
      [ready.status, await ready.json()],
      [
        200,
        {
          status: 'ready',
          database: { reachable: true, milliseconds: Number },
          schema: { applied: true, fields: Number },
          connections: { total: Number, idle: Number, waiting: 0 },
          versions: { plinth: /^\d+\.\d+\.\d+/, postgres: /^1\d/, runtime: /^(node|deno) \d/ },
        },
      ],
    );
  });

  t.test('/ready asks Postgres once for all who ask at the same time', async (t) => {
    let asking = 0;
    const count = () => {
      asking += 1;
    };
    subscribe('http.server.request.start', count);
    t.teardown(() => unsubscribe('http.server.request.start', count));
    world.proxy.counted();
    // Until all have asked it does not answer.
    world.proxy.hold();
    const answers = Promise.all(Array.from({ length: 50 }, () => fetch(`${server.url}ready`)));
    await until(() => asking >= 50, 'That all have asked');
    world.proxy.goOn();
    t.same(new Set((await answers).map(({ status }) => status)), new Set([200]));
    t.equal(world.proxy.counted().Q, 1);
  });

  t.test('other places', async (t) => {
    const home = await fetch(server.url, { redirect: 'manual' });
    t.same([home.status, home.headers.get('location')], [302, '/graphql']);
    const nowhere = await fetch(`${server.url}nowhere`);
    t.match([nowhere.status, await nowhere.json()], [404, { errors: [{ extensions: { code: 'NOT_FOUND' } }] }]);
  });

  t.test('GraphiQL is there for browsers, with nothing from elsewhere', async (t) => {
    const page = await (await fetch(graphql, { headers: { accept: 'text/html' } })).text();
    t.match(page, /graphiql/i);
    t.notMatch(page, /<(script|link)[^>]+(src|href)="https?:/);
  });

  t.test('a request has an id: the one it came with, or a new one', async (t) => {
    const id = async (headers: Record<string, string>) =>
      (await fetch(graphql, query('{ __typename }', headers))).headers.get('x-request-id');
    t.equal(await id({ 'x-request-id': 'order-7:a.b_c' }), 'order-7:a.b_c');
    t.match(await id({}), /^[0-9a-f-]{36}$/);
    t.not(await id({}), await id({}));
    for (const odd of ['two words', '"; drop', 'x'.repeat(101)])
      t.match(await id({ 'x-request-id': odd }), /^[0-9a-f-]{36}$/, odd.slice(0, 10));
  });

  t.test('and one line in the log: who asked for what, how long it took, how many rows it read', async (t) => {
    const alice = await person('alice');
    const authorization = `Bearer ${alice.token}`;
    const lines = async (text: string, headers: Record<string, string>) => {
      logged.length = 0;
      await (await fetch(graphql, query(text, { 'x-request-id': 'it', ...headers }))).text();
      return logged;
    };
    const [first, ...none] = await lines('query Everyone { users { nodes { username } } }', { authorization });
    t.match(first, { id: 'it', operation: 'Everyone', role: 'member', ms: Number, rows: 1, msg: 'request' });
    t.same([none, first?.code], [[], undefined]);
    t.match(await lines('{ me { id } }', {}), [{ operation: 'query', role: 'anonymous', rows: 0 }]);
    t.match(await lines('mutation Gone { logOut { ok } }', { authorization }), [{ operation: 'Gone', rows: 0 }]);
    t.match(await lines('{ nonsense }', {}), [{ id: 'it', code: 'BAD_REQUEST' }]);
    t.match(await lines('{ me { id } }', { authorization: 'Bearer forged' }), [
      { id: 'it', status: 401, code: 'UNAUTHENTICATED' },
    ]);
    t.notMatch(JSON.stringify(logged), /forged/, 'and no secrets');
  });

  t.test('CORS lets the pages of known origins in, and no others', async (t) => {
    const asked = async (origin: string, method = 'POST') => {
      const preflight = {
        method,
        headers: {
          origin,
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'authorization,content-type',
        },
      };
      return (await fetch(graphql, method === 'OPTIONS' ? preflight : query('{ __typename }', { origin }))).headers;
    };
    for (const origin of ['https://app.example', 'http://localhost:3000']) {
      const preflight = await asked(origin, 'OPTIONS');
      t.equal(preflight.get('access-control-allow-origin'), origin);
      t.match(preflight.get('access-control-allow-methods'), /POST/);
      t.match(preflight.get('access-control-allow-headers'), /authorization, content-type/);
      const actual = await asked(origin);
      t.same([actual.get('access-control-allow-origin'), actual.get('vary')], [origin, 'origin']);
      t.match(actual.get('access-control-expose-headers'), /x-request-id/);
    }
    for (const origin of ['https://evil.example', 'https://app.example.evil.example', 'null', 'http://app.example']) {
      for (const method of ['OPTIONS', 'POST'])
        t.equal((await asked(origin, method)).get('access-control-allow-origin'), null, `${origin} ${method}`);
    }
  });
});

t.test('D6 access tokens', async (t) => {
  const world = await openWorld(t);
  const { rows } = await world.owner.query(
    `with made as (insert into identity.users (username, display_name) values ('alice', 'Alice') returning id),
    account as (insert into identity.accounts (user_id) select id from made)
    select id from made`,
  );
  const {
    rows: [{ claims }],
  } = await world.owner.query('select (identity.open_session($1)).access_token as claims', [rows[0].id]);
  const [older, newer] = [
    { kid: 'older', key: randomBytes(32) },
    { kid: 'newer', key: randomBytes(32) },
  ];
  const serve = async (keys: (typeof older)[]) => {
    const server = await startServer({
      settings: readSettings({ PORT: '0', HOST: '127.0.0.1' }),
      keys,
      databaseUrl: world.databaseUrl,
      log: pino({ level: 'silent' }),
      deliver: async () => {},
    });
    t.teardown(server.close);
    return async (token: string, scheme = 'Bearer') => {
      const response = await fetch(
        `${server.url}graphql`,
        query('{ me { username } }', { authorization: `${scheme} ${token}` }),
      );
      return {
        status: response.status,
        answer: await response.json(),
        challenge: response.headers.get('www-authenticate'),
      };
    };
  };
  const alice = { status: 200, answer: { data: { me: { username: 'alice' } } } };
  const refused = (message: RegExp) => ({
    status: 401,
    answer: { errors: [{ message, extensions: { code: 'UNAUTHENTICATED' } }] },
    challenge: 'Bearer',
  });
  const signed = (header: object, key: Uint8Array, expires: string | number = '5m', payload = claims) =>
    new SignJWT(payload)
      .setProtectedHeader({ alg: 'HS256', kid: 'older', ...header })
      .setExpirationTime(expires)
      .sign(key);
  const me = await serve([older]);

  t.test('are believed when one of our keys signed them and they have not ended', async (t) => {
    const token = await signed({}, older.key);
    t.match(await me(token), alice);
    t.match(await me(token, 'bearer'), alice, 'whatever the case of the scheme');
    t.match(await me(await signed({}, older.key, Math.floor(Date.now() / 1000) - 1)), refused(/has expired; refresh/));
  });

  t.test('are refused when they are forged', async (t) => {
    const [header, payload, signature] = (await signed({}, older.key)).split('.') as [string, string, string];
    const base64 = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const operator = base64({ ...JSON.parse(Buffer.from(payload, 'base64url').toString()), role: 'operator' });
    for (const [name, token] of Object.entries({
      'another key': await signed({}, newer.key),
      'an unknown kid': await signed({ kid: 'other' }, older.key),
      'no kid': await signed({ kid: undefined }, older.key),
      'another algorithm': await signed({ alg: 'HS512' }, randomBytes(64)),
      'alg none': `${base64({ alg: 'none', kid: 'older' })}.${payload}.`,
      'alg none with a signature': `${base64({ alg: 'none', kid: 'older' })}.${payload}.${signature}`,
      'changed claims': `${header}.${operator}.${signature}`,
      'no signature': `${header}.${payload}.`,
      'no end': await new SignJWT(claims).setProtectedHeader({ alg: 'HS256', kid: 'older' }).sign(older.key),
      'no role': await signed({}, older.key, '5m', { sub: claims.sub }),
      nonsense: 'x.y.z',
    })) {
      t.match(await me(token), refused(/is not valid/), name);
    }
  });

  t.test('that say more than their session is are refused by Postgres', async (t) => {
    const ended = { errors: [{ message: 'The session has ended.', extensions: { code: 'UNAUTHENTICATED' } }] };
    t.match((await me(await signed({}, older.key, '5m', { ...claims, role: 'operator' }))).answer, ended);
    t.match((await me(await signed({}, older.key, '5m', { ...claims, sub: claims.sid }))).answer, ended);
    t.match((await me(await signed({}, older.key, '5m', { ...claims, sid: undefined }))).answer, ended);
  });

  t.test('outlive a change of keys until the old key goes', async (t) => {
    const [old, fresh] = [await openTokens([older]).sign(claims), await openTokens([newer, older]).sign(claims)];
    const [before, between, after] = [me, await serve([newer, older]), await serve([newer])];
    t.match(
      [await before(old), await between(old), await between(fresh), await after(fresh)],
      [alice, alice, alice, alice],
    );
    t.match([await before(fresh), await after(old)], [refused(/not valid/), refused(/not valid/)]);
  });

  t.test('end with their session', async (t) => {
    const token = await signed({}, older.key);
    t.match(await me(token), alice);
    await world.owner.query('update identity.sessions set revoked_at = now() where id = $1', [claims.sid]);
    t.match((await me(token)).answer, { errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] });
  });
});
