import { once } from 'node:events';
import { connect } from 'node:net';
import sharp from 'sharp';
import t from 'tap';
import type { Person } from '../world.ts';
import { fields, kinds, openFilesWorld } from './files-world.ts';

const uploadFile = 'mutation ($file: Upload!) { uploadFile(input: {file: $file}) { file { id url } } }';
const sendFiles = `mutation ($channelId: UUID!, $fileIds: [UUID!]!, $nonce: String) {
  sendFiles(input: {channelId: $channelId, fileIds: $fileIds, nonce: $nonce}) { message { id files { nodes { id } } } }
}`;
const code = (answer: { errors?: { extensions?: { code?: string } }[] }) => answer.errors?.[0]?.extensions?.code;

for (const kind of kinds) {
  t.test(`C12 F10 files in ${kind}, attacked`, async (t) => {
    const world = await openFilesWorld(t, kind);
    const { alice, bob, mallory, room, ask, send, upload, download, sql, settled, cleanUp, stored } = world;
    const operations = JSON.stringify({ query: uploadFile, variables: { file: null } });

    t.test('a file is no larger than allowed, nor than the quota leaves, however many come at once', async (t) => {
      await sql('update files.limits set file_bytes = 100000');
      const large = await send(uploadFile, [{ name: 'a', bytes: Buffer.alloc(300_000) }], { file: null }, alice.token);
      t.strictSame([large.status, code(await large.json())], [413, 'LIMIT_EXCEEDED']);
      const create =
        'mutation ($bytes: BigInt!) { createUpload(input: {name: "a", bytes: $bytes}) { fileUpload { id } } }';
      t.equal(code(await ask(create, { bytes: '100001' }, alice.token)), 'LIMIT_EXCEEDED');
      for (const bytes of ['0', '-1']) t.equal(code(await ask(create, { bytes }, alice.token)), 'BAD_USER_INPUT');
      t.equal(code(await ask(create, { bytes: '9223372036854775808' }, alice.token)), 'BAD_USER_INPUT');
      const empty = await upload(alice, { name: 'a', bytes: '' });
      t.ok(empty.errors, 'an empty file');

      await ask(
        'mutation ($userId: UUID!) { setQuota(input: {userId: $userId, bytes: "35000"}) { ok } }',
        { userId: mallory.id },
        (await world.person('operator', { operator: true })).token,
      );
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, n) => upload(mallory, { name: 'a', bytes: Buffer.alloc(10_000, n) })),
      );
      const done = answers.filter(({ data }) => data?.uploadFile);
      t.equal(done.length, 3);
      for (const answer of answers.filter(({ data }) => !data?.uploadFile)) t.equal(code(answer), 'LIMIT_EXCEEDED');
      const { data } = await ask('{ myFileUsage { bytes files mostBytes } }', {}, mallory.token);
      t.strictSame(data.myFileUsage, { bytes: '30000', files: '3', mostBytes: '35000' });
      await sql('update files.limits set file_bytes = default, open_uploads = 3');
      for (let n = 0; n < 3; n += 1) t.notOk((await ask(create, { bytes: '1' }, bob.token)).errors);
      t.equal(code(await ask(create, { bytes: '1' }, bob.token)), 'TOO_MANY_REQUESTS');
      await sql('update files.limits set open_uploads = default');
      await sql('delete from files.file_uploads');
    });

    t.test('the same file by 20 at once is 20 files and stands in the storage once', async (t) => {
      await cleanUp();
      const before = await stored();
      const bytes = Buffer.alloc(50_000, 'same');
      const all = await Promise.all(
        Array.from({ length: 20 }, (_, n) => upload([alice, bob][n % 2] as Person, { name: `${n}`, bytes })),
      );
      t.equal(
        new Set(all.map(({ data }) => data?.uploadFile?.file.id)).size,
        20,
        JSON.stringify(all.find(({ errors }) => errors)),
      );
      await sql("update files.leftovers set remove_at = now() - interval '1 hour'");
      const [run] = await sql("select (jobs.enqueue('remove_files')).id");
      await world.ended(run?.id);
      t.equal((await stored()).length, before.length + 1);
      t.equal(await (await download(all[7]?.data.uploadFile.file.url)).text(), bytes.toString());
      for (const { data } of all.slice(1)) {
        const owner = data.uploadFile.file.owner.username === 'alice' ? alice : bob;
        t.notOk(
          (
            await ask(
              'mutation ($id: UUID!) { deleteFile(input: {fileId: $id}) { ok } }',
              { id: data.uploadFile.file.id },
              owner.token,
            )
          ).errors,
        );
      }
      await sql("update files.contents set loose_since = now() - interval '2 days' where loose_since is not null");
      await sql('select files.expire_files()');
      t.equal((await download(all[0]?.data.uploadFile.file.url)).status, 200, 'the last one still has its bytes');
    });

    t.test('files of others are nobody’s by their id', async (t) => {
      const { data } = await upload(alice, { name: 'diary.txt', bytes: 'secret' });
      const { id } = data.uploadFile.file;
      t.equal((await ask('query ($id: UUID!) { file(id: $id) { name url } }', { id }, mallory.token)).data.file, null);
      const files = await ask('{ files(first: 50) { nodes { owner { username } } } }', {}, mallory.token);
      t.ok(files.data.files.nodes.every(({ owner }: { owner: { username: string } }) => owner.username === 'mallory'));
      const own = await ask('mutation { createRoom(input: {name: "Den"}) { channel { id } } }', {}, mallory.token);
      const channelId = own.data.createRoom.channel.id;
      t.equal(code(await ask(sendFiles, { channelId, fileIds: [id] }, mallory.token)), 'NOT_FOUND');
      t.equal(code(await ask(sendFiles, { channelId: room, fileIds: [id] }, mallory.token)), 'NOT_FOUND');
      const remove = 'mutation ($id: UUID!) { deleteFile(input: {fileId: $id}) { ok } }';
      t.equal(code(await ask(remove, { id }, mallory.token)), 'NOT_FOUND');
      const begun = await ask(
        'mutation { createUpload(input: {name: "a", bytes: "1"}) { fileUpload { id } } }',
        {},
        alice.token,
      );
      const uploadId = begun.data.createUpload.fileUpload.id;
      const complete = 'mutation ($id: UUID!) { completeUpload(input: {uploadId: $id}) { fileUpload { id } } }';
      t.equal(code(await ask(complete, { id: uploadId }, mallory.token)), 'NOT_FOUND');
      await ask(
        'mutation ($ids: [UUID!]!) { cancelUploads(input: {ids: $ids}) { ok } }',
        { ids: [uploadId] },
        mallory.token,
      );
      t.equal(
        (await ask('query ($id: UUID!) { fileUpload(id: $id) { uploadUrl } }', { id: uploadId }, mallory.token)).data
          .fileUpload,
        null,
      );
      t.match((await ask('query ($id: UUID!) { fileUpload(id: $id) { state } }', { id: uploadId }, alice.token)).data, {
        fileUpload: { state: 'OPEN' },
      });
      for (const hidden of [
        'beginUpload(input: {name: "a"}) { id }',
        'expireFiles(input: {}) { result }',
        'received(input: {}) { ok }',
        'setQuota(input: {userId: "01a1b2c3-0000-7000-8000-000000000000"}) { ok }',
      ])
        t.ok((await ask(`mutation { ${hidden} }`, {}, mallory.token)).errors, hidden);
    });

    t.test('a link is good for its file, as it was signed, until it expires; paths lead nowhere else', async (t) => {
      const [one, other] = await Promise.all(['one', 'two'].map((bytes) => upload(alice, { name: bytes, bytes })));
      const url = new URL(one?.data.uploadFile.file.url, world.server.url);
      const second = new URL(other?.data.uploadFile.file.url, world.server.url);
      const changed = (name: string, value: string | null): string => {
        const copy = new URL(url);
        if (value === null) copy.searchParams.delete(name);
        else copy.searchParams.set(name, value);
        return copy.href;
      };
      const signature = url.searchParams.get('signature') ?? '';
      for (const wrong of [
        changed('signature', null),
        changed('expires', null),
        changed('expires', '99999999999'),
        changed('expires', '1e9'),
        changed('expires', '-1'),
        changed('expires', `${'9'.repeat(40)}`),
        changed(
          'signature',
          signature.replace(/.$/, (last) => (last === '0' ? '1' : '0')),
        ),
        changed('signature', signature.toUpperCase()),
        changed('signature', ''),
        changed('signature', 'é\u0001%00'),
        new URL(second.pathname + url.search, url).href,
        url.href.replace('?', '/preview?'),
        new URL('/files/', url).href,
      ])
        t.equal((await fetch(wrong)).status, 404, wrong);
      for (const path of [
        '/files/../../../../etc/passwd',
        '/files/%2e%2e/%2e%2e/etc/passwd',
        '/files/..%2f..%2fetc%2fpasswd',
        `/files/uploads/../${url.pathname.slice(7)}`,
      ]) {
        const { hostname, port } = url;
        const socket = connect(Number(port), hostname);
        socket.end(`GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
        let text = '';
        for await (const chunk of socket) text += chunk;
        t.match(text, /^HTTP\/1.1 404/, path);
      }
      const put = new URL(`/files/uploads${url.pathname.slice(6)}${url.search}`, url);
      t.equal((await fetch(put, { method: 'PUT', body: 'x' })).status, 404, 'a link to read is none to write');
      t.equal((await fetch(url, { method: 'POST' })).status, 405);
      t.equal((await fetch(url, { method: 'DELETE' })).status, 405);
      const [row] = await sql(
        "select files._link('/files/' || $1, 'file ' || $1, 1000000000, key) as url from files.link_keys as key",
        [one?.data.uploadFile.file.id],
      );
      const late = await download(row?.url);
      t.strictSame([late.status, code((await late.json()) as object)], [403, 'FORBIDDEN']);
      await sql('insert into files.link_keys default values');
      t.equal((await fetch(url)).status, 200, 'an older key still holds');
      await sql('delete from files.link_keys where id = (select min(id) from files.link_keys)');
      t.equal((await fetch(url)).status, 404, 'until it is deleted');
    });

    t.test('what a browser could run is kept as a file, and an image that is none is not shown', async (t) => {
      const nasty = {
        'page.html': '<!doctype html><script>alert(1)</script>',
        'image.svg': '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        'declared.svg': '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        'photo.png': Buffer.concat([
          Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex'),
          Buffer.from('<script>alert(1)</script>'),
        ]),
        'a"; filename="b.html\r\nX-Evil: 1.txt': 'text',
      };
      for (const [name, bytes] of Object.entries(nasty)) {
        const { data } = await upload(alice, { name, bytes, type: 'image/png' });
        await settled();
        const answer = await download(data.uploadFile.file.url);
        t.match(answer.headers.get('content-disposition'), /^attachment;/, name);
        t.notMatch(answer.headers.get('content-type'), /html|xml|script/, name);
        t.equal(answer.headers.get('x-content-type-options'), 'nosniff');
        t.match(answer.headers.get('content-security-policy'), /default-src 'none'.*sandbox/);
        t.equal(answer.headers.get('x-evil'), null);
      }
    });

    t.test('an image of too many pixels is no preview, and costs no memory', async (t) => {
      const bomb = await sharp({ create: { width: 7500, height: 7500, channels: 3, background: 'red' } })
        .png({ compressionLevel: 9 })
        .toBuffer();
      const { data } = await upload(alice, { name: 'bomb.png', bytes: bomb });
      await settled();
      const file = await ask(
        `query ($id: UUID!) { file(id: $id) { ${fields} } }`,
        { id: data.uploadFile.file.id },
        alice.token,
      );
      t.match(file.data.file, { mediaType: 'image/png', width: null, previewUrl: null });
      t.match((await download(file.data.file.url)).headers.get('content-disposition'), /^attachment/);
      const [content] = await sql('select problem from files.contents where bytes = $1', [bomb.length]);
      t.match(content?.problem, /pixel limit/);
    });

    t.test('who breaks off an upload leaves nothing behind', async (t) => {
      await cleanUp();
      const before = await stored();
      const { hostname, port } = new URL(world.server.url);
      const socket = connect(Number(port), hostname);
      socket.on('error', () => {});
      const head = (part: string, more = '') => `--b\r\ncontent-disposition: form-data; name="${part}"${more}\r\n\r\n`;
      socket.write(
        `POST /graphql HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${alice.token}\r\ncontent-length: 30000000\r\n` +
          `content-type: multipart/form-data; boundary=b\r\n\r\n${head('operations')}${operations}\r\n` +
          `${head('map')}{"0":["variables.file"]}\r\n${head('0', '; filename="a"')}`,
      );
      socket.write(Buffer.alloc(12_000_000, 'a'));
      const under = async () => (await sql('select id from files.file_uploads where state = $1', ['open'])).length;
      while ((await under()) === 0) await once(process, 'nothing', { signal: AbortSignal.timeout(20) }).catch(() => {});
      socket.destroy();
      while ((await under()) > 0) await once(process, 'nothing', { signal: AbortSignal.timeout(20) }).catch(() => {});
      await cleanUp();
      t.strictSame(await stored(), before);
      t.strictSame(await sql('select * from files.leftovers'), []);
      t.notOk(
        world.logged.some(({ level }) => Number(level) >= 50),
        'it is no error of ours',
      );
    });

    t.test('a storage that is gone is told, nothing is half done, and it goes on when it is back', async (t) => {
      const { data } = await upload(alice, { name: 'kept', bytes: 'kept' });
      const back = await world.breakStorage();
      const before = await sql('select count(*) from files.files');
      const answer = await send(
        uploadFile,
        [{ name: 'lost', bytes: Buffer.alloc(9_000_000) }],
        { file: null },
        alice.token,
      );
      t.strictSame([answer.status, code(await answer.json())], [503, 'UNAVAILABLE']);
      const gone = await download(data.uploadFile.file.url);
      t.strictSame([gone.status, code((await gone.json()) as object)], [503, 'UNAVAILABLE']);
      t.strictSame(await sql('select count(*) from files.files'), before);
      t.strictSame(await sql("select id from files.file_uploads where name = 'lost'"), []);
      back();
      t.equal(await (await download(data.uploadFile.file.url)).text(), 'kept');
      t.notOk((await upload(alice, { name: 'again', bytes: 'again' })).errors);
    });
  });
}
