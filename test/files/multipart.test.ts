import t from 'tap';
import type { Person } from '../world.ts';
import { type FilesWorld, openFilesWorld } from './files-world.ts';

const uploadFile = 'mutation ($file: Upload!) { uploadFile(input: {file: $file}) { file { id url } } }';
const code = (answer: { errors?: { extensions?: { code?: string } }[] }) => answer.errors?.[0]?.extensions?.code;

/** A multipart request of these parts, in this order. */
async function parts({ server }: FilesWorld, { token }: Person, list: [string, string | Blob][]) {
  const form = new FormData();
  for (const [name, value] of list) form.append(name, value as Blob);
  const headers = { authorization: `Bearer ${token}` };
  const response = await fetch(`${server.url}graphql`, { method: 'POST', body: form, headers });
  return { status: response.status, body: await response.json() };
}

t.test('C12 multipart requests as nobody should send them', async (t) => {
  const world = await openFilesWorld(t, 'a folder');
  const { alice, ask, send, sql } = world;
  const operations = JSON.stringify({ query: uploadFile, variables: { file: null } });
  const blob = new Blob(['hello']);

  t.test('nobody uploads without signing in, nor names a file otherwise than by sending it', async (t) => {
    const nobody = await send(uploadFile, [{ name: 'a', bytes: 'a' }], { file: null });
    t.strictSame([nobody.status, code(await nobody.json())], [401, 'UNAUTHENTICATED']);
    const wrong = await send(uploadFile, [{ name: 'a', bytes: 'a' }], { file: null }, `${alice.token}x`);
    t.equal(wrong.status, 401);
    for (const file of ['a', '01a1b2c3-0000-7000-8000-000000000000', { id: 'x' }, null])
      t.equal(code(await ask(uploadFile, { file }, alice.token)), 'BAD_USER_INPUT');
    const literal = 'mutation { uploadFile(input: {file: "01a1b2c3-0000-7000-8000-000000000000"}) { file { id } } }';
    t.match(await ask(literal, {}, alice.token), { errors: [{ message: /Upload/ }] });
    const query = 'query ($file: Upload) { me { id } }';
    t.equal((await send(query, [{ name: 'a', bytes: 'a' }], { file: null }, alice.token)).status, 400);
  });

  t.test('a request that is not as the specification says is refused, and nothing of it kept', async (t) => {
    const map = JSON.stringify({ 0: ['variables.file'] });
    const wrong: [string, [string, string | Blob][]][] = [
      [
        'no operations',
        [
          ['map', map],
          ['0', blob],
        ],
      ],
      [
        'the file first',
        [
          ['0', blob],
          ['operations', operations],
          ['map', map],
        ],
      ],
      [
        'no map',
        [
          ['operations', operations],
          ['0', blob],
        ],
      ],
      [
        'no file',
        [
          ['operations', operations],
          ['map', map],
        ],
      ],
      [
        'a file that map does not name',
        [
          ['operations', operations],
          ['map', map],
          ['1', blob],
        ],
      ],
      [
        'no JSON',
        [
          ['operations', '{'],
          ['map', map],
          ['0', blob],
        ],
      ],
      [
        'a list',
        [
          ['operations', `[${operations}]`],
          ['map', map],
          ['0', blob],
        ],
      ],
      [
        'a map that is none',
        [
          ['operations', operations],
          ['map', '{"0": "variables.file"}'],
          ['0', blob],
        ],
      ],
      [
        'a place that is not null',
        [
          ['operations', operations],
          ['map', '{"0": ["variables.__proto__.x"]}'],
          ['0', blob],
        ],
      ],
      [
        'a place elsewhere',
        [
          ['operations', operations],
          ['map', '{"0": ["query"]}'],
          ['0', blob],
        ],
      ],
      [
        'another field',
        [
          ['operations', operations],
          ['more', 'x'],
          ['map', map],
          ['0', blob],
        ],
      ],
      [
        'an unknown field of the mutation',
        [
          ['operations', operations.replace('url', 'uri')],
          ['map', map],
          ['0', blob],
        ],
      ],
      [
        'too long',
        [
          ['operations', operations.padEnd(1_100_000)],
          ['map', map],
          ['0', blob],
        ],
      ],
      [
        'too many files',
        [
          ['operations', operations],
          ['map', JSON.stringify(Object.fromEntries(Array.from({ length: 21 }, (_, n) => [n, []])))],
        ],
      ],
    ];
    for (const [name, list] of wrong) {
      const { status, body } = await parts(world, alice, list);
      t.equal(status, 400, name);
      t.ok(body.errors[0].message && code(body), `${name}: ${body.errors[0].message}`);
    }
    const bare = await fetch(`${world.server.url}graphql`, {
      method: 'POST',
      headers: { authorization: `Bearer ${alice.token}`, 'content-type': 'multipart/form-data; x' },
      body: 'x',
    });
    t.equal(bare.status, 400);
    t.strictSame(await sql('select id from files.file_uploads'), []);
  });
});
