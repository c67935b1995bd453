import t from 'tap';
import { openWorld, schemaWith } from '../world.ts';

const claims = `'{"role": "anonymous"}'::jsonb`;
const schema = `${schemaWith('things')}
create domain things.token as jsonb;
comment on domain things.token is '@jwt';
create type things.pass as (token things.token, note text);
create type things.wallet as (pass things.pass, size integer);
create table things.keys (id integer primary key, box_id integer references things.boxes (id), token things.token);
create index keys_box_id_idx on things.keys (box_id);
insert into things.boxes values (1, 'one', null), (2, 'two', null);
insert into things.keys values (1, 1, ${claims}), (2, 1, null);
grant select on things.keys to anonymous;
create function things.token_made() returns things.token language sql volatile return ${claims};
create function things.tokens_made() returns setof things.token language sql volatile begin atomic select ${claims}::things.token; end;
create function things.token_read() returns things.token language sql stable return ${claims};
create function things.wallet_read() returns things.wallet language sql stable return row(row(${claims}, 'x'), 1)::things.wallet;
create function things.wallets_made() returns setof things.wallet language sql volatile
begin atomic select (row(row(${claims}, 'x'), n)::things.wallet).* from generate_series(1, 2) as n; end;
create function things.sealed(secret text default null) returns text language sql volatile return coalesce(secret, 'nothing');
comment on function things.sealed is '@argon2id secret';
grant execute on function things.token_made, things.tokens_made, things.token_read, things.wallet_read, things.wallets_made,
  things.sealed to anonymous;
`;

t.test('what the server finishes before clients see it', async (t) => {
  const { ask, tokens, owner, logged } = await openWorld(t, { schema });
  const data = async (query: string) => {
    const answer = await ask(query);
    if (answer.errors) throw new Error(JSON.stringify(answer.errors));
    return answer.data;
  };

  t.test('a token is signed wherever it is selected', async (t) => {
    const boxes = (await data('{ boxes { nodes { id keys { edges { node { signed: token } } } } } }')).boxes.nodes;
    const found: Record<string, unknown> = {
      'by a mutation': (await data('mutation { tokenMade { result } }')).tokenMade.result,
      'as one of a set': (await data('mutation { tokensMade { result } }')).tokensMade.result[0],
      'by a query': (await data('{ tokenRead }')).tokenRead,
      'in an attribute of a row': (await data('{ w: walletRead { pass { t: token note } } }')).w.pass.t,
      'in a list of rows': (await data('mutation { walletsMade { wallets { size pass { token } } } }')).walletsMade
        .wallets[1].pass.token,
      'of a table': (await data('{ key(id: 1) { token } }')).key.token,
      'of a row in a page': boxes[0].keys.edges[0].node.signed,
    };
    for (const [name, token] of Object.entries(found)) {
      t.match(await tokens.verify(String(token)).catch(String), { claims: { role: 'anonymous' } }, name);
    }
    t.equal(boxes[0].keys.edges[1].node.signed, null);
    t.same(boxes[1].keys.edges, []);
  });

  t.test('a password that is optional may be left out', async (t) => {
    t.same(await data('mutation { sealed(input: {}) { result } }'), { sealed: { result: 'nothing' } });
    t.match(
      (await data('mutation { sealed(input: { secret: "a long secret" }) { result } }')).sealed.result,
      /^\$argon2id/,
    );
    for (const secret of ['short', 'x'.repeat(1001)]) {
      const { errors } = await ask('mutation ($secret: String!) { sealed(input: { secret: $secret }) { result } }', {
        secret,
      });
      t.match(errors, [{ extensions: { code: 'BAD_USER_INPUT', argument: 'secret' } }], `${secret.length} characters`);
    }
  });

  t.test('what is to be delivered cannot be a result', async (t) => {
    logged.length = 0;
    await owner.query(`
      create domain things.mail as jsonb;
      comment on domain things.mail is '@deliver';
      create function things.mail_sent() returns things.mail language sql volatile return '{"channel": "mail"}'::jsonb;
      grant execute on function things.mail_sent to anonymous`);
    while (!logged.some(({ level }) => level === 50)) await new Promise((resolve) => setTimeout(resolve, 20));
    const [told] = logged.filter(({ level }) => level === 50);
    t.match(told, { error: /function things\.mail_sent/, remedy: /attribute/ });
  });
});
