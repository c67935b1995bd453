import { setTimeout } from 'node:timers/promises';
import t from 'tap';
import type { Person } from '../world.ts';
import { fields, kinds, openFilesWorld } from './files-world.ts';

const send = `mutation ($channelId: UUID!, $fileIds: [UUID!]!, $text: String, $nonce: String) {
  sendFiles(input: {channelId: $channelId, fileIds: $fileIds, text: $text, nonce: $nonce}) {
    message { id seq kind text files { nodes { id name } } }
  }
}`;
const see = `query ($id: UUID!) { file(id: $id) { ${fields} } }`;

t.test('C12 files of messages', async (t) => {
  const world = await openFilesWorld(t, 'a folder');
  const { alice, bob, mallory, room, ask, upload, download, sql, cleanUp, stored } = world;
  const make = async (person: Person, name: string, isPublic = false) =>
    (await upload(person, { name, bytes: `${name} of ${person.username}` }, isPublic)).data.uploadFile.file;
  const roomOf = async ({ token }: Person): Promise<string> =>
    (await ask('mutation { createRoom(input: {name: "Den"}) { channel { id } } }', {}, token)).data.createRoom.channel
      .id;

  t.test('they come in the order in which they were named, with the text or their names', async (t) => {
    const ids = [];
    for (const name of ['one.txt', 'two.txt', 'three.txt']) ids.unshift((await make(alice, name)).id);
    const plain = await ask(send, { channelId: room, fileIds: ids, text: 'Look!' }, alice.token);
    t.match(plain.data.sendFiles.message, { kind: 'FILE', text: 'Look!' });
    const { id } = plain.data.sendFiles.message;
    const read = await ask(
      'query ($id: UUID!) { message(id: $id) { files(first: 2) { nodes { name } pageInfo { hasNextPage } } } }',
      { id },
      bob.token,
    );
    t.strictSame(read.data.message.files, {
      nodes: [{ name: 'three.txt' }, { name: 'two.txt' }],
      pageInfo: { hasNextPage: true },
    });
    t.match(await ask(send, { channelId: room, fileIds: ids }, alice.token), {
      data: { sendFiles: { message: { text: 'three.txt, two.txt, one.txt' } } },
    });
  });

  t.test(
    'a file expires when its owner says: nobody has it then, and later it is gone; what is held stays',
    async (t) => {
      const expire = `mutation ($fileId: UUID!, $at: DateTime) {
      setFileExpiry(input: {fileId: $fileId, expiresAt: $at}) { file { id expiresAt } }
    }`;
      const later = new Date(Date.now() + 3_600_000).toISOString();
      const files = [await make(alice, 'soon.txt'), await make(alice, 'held.txt', true)];
      for (const { id } of files) {
        await ask(send, { channelId: room, fileIds: [id] }, alice.token);
        t.match(await ask(expire, { fileId: id, at: later }, alice.token), {
          data: { setFileExpiry: { file: { id } } },
        });
        t.equal((await ask(see, { id }, bob.token)).data.file?.id, id, 'it is there until then');
      }
      const [{ id }, held] = files as [(typeof files)[0], (typeof files)[0]];
      const { url } = (await ask(see, { id }, bob.token)).data.file;
      t.equal((await download(url)).status, 200);
      for (const [at, by, code] of [
        [later, mallory, 'NOT_FOUND'],
        [new Date(0).toISOString(), alice, 'BAD_USER_INPUT'],
        ['2999-01-01T00:00:00Z', alice, 'BAD_USER_INPUT'],
      ] as const)
        t.equal((await ask(expire, { fileId: id, at }, by.token)).errors?.[0]?.extensions?.code, code);

      await sql("update files.files set expires_at = now() - interval '1 second' where expires_at is not null");
      for (const person of [alice, bob]) t.equal((await ask(see, { id }, person.token)).data.file, null);
      t.equal((await download(url)).status, 404);
      t.equal((await download(held.url)).status, 404);
      await sql("insert into accounts.legal_holds (channel_id, reason) values ($1, 'asked for')", [room]);
      await sql('select files.expire_files()');
      t.equal((await sql('select from files.files where expires_at < now()')).length, 2, 'a hold is on the room');
      await sql('delete from accounts.legal_holds');
      await cleanUp();
      t.strictSame(await sql('select from files.files where expires_at < now()'), []);
    },
  );

  t.test('whoever sends names files that there are, each once, and not too many', async (t) => {
    const { id } = await make(alice, 'one.txt');
    const none = '01a1b2c3-0000-7000-8000-000000000000';
    const wrong: [string[], string][] = [
      [[], 'BAD_USER_INPUT'],
      [[id, id], 'BAD_USER_INPUT'],
      [Array.from({ length: 11 }, () => id), 'BAD_USER_INPUT'],
      [[id, none], 'NOT_FOUND'],
    ];
    const before = await sql('select last_seq from chat.channels where id = $1', [room]);
    for (const [fileIds, expected] of wrong)
      t.equal((await ask(send, { channelId: room, fileIds }, alice.token)).errors?.[0]?.extensions?.code, expected);
    const { id: hers } = await make(mallory, 'hers.txt');
    t.match(await ask(send, { channelId: room, fileIds: [hers] }, mallory.token), {
      errors: [{ extensions: { code: 'NOT_FOUND' } }],
    });
    t.strictSame(await sql('select last_seq from chat.channels where id = $1', [room]), before, 'nothing was said');
  });

  t.test('sent twice with one nonce, at once or later, it is one message with its files', async (t) => {
    const [one, other] = [await make(alice, 'one.txt'), await make(alice, 'other.txt')];
    const variables = { channelId: room, fileIds: [one.id], nonce: 'files 1' };
    const all = await Promise.all(Array.from({ length: 8 }, () => ask(send, variables, alice.token)));
    t.equal(new Set(all.map(({ data }) => data.sendFiles.message.id)).size, 1);
    const again = await ask(send, { ...variables, fileIds: [other.id] }, alice.token);
    t.strictSame(
      again.data.sendFiles.message.files.nodes.map(({ id }: { id: string }) => id),
      [one.id],
    );
  });

  t.test('who comes sees them, who goes does not; who sees one may send it on', async (t) => {
    const { id } = await make(alice, 'plan.txt');
    await ask(send, { channelId: room, fileIds: [id] }, alice.token);
    const den = await roomOf(bob);
    t.notOk((await ask(send, { channelId: den, fileIds: [id] }, bob.token)).errors);
    t.equal((await ask(see, { id }, mallory.token)).data.file, null);
    const add =
      'mutation ($channelId: UUID!, $userId: UUID!) { addMember(input: {channelId: $channelId, userId: $userId}) { member { role } } }';
    await ask(add, { channelId: den, userId: mallory.id }, bob.token);
    t.equal((await ask(see, { id }, mallory.token)).data.file.name, 'plan.txt');
    await ask('mutation ($id: UUID!) { leaveChannel(input: {channelId: $id}) { ok } }', { id: den }, mallory.token);
    t.equal((await ask(see, { id }, mallory.token)).data.file, null);
    const remove = 'mutation ($id: UUID!) { deleteFile(input: {fileId: $id}) { ok } }';
    t.match(await ask(remove, { id }, alice.token), { errors: [{ extensions: { code: 'CONFLICT' } }] });
  });

  t.test('what a deleted message had is its owner’s alone, at once; a link that was given holds', async (t) => {
    const { id: fileId } = await make(alice, 'withdrawn.txt');
    const { id } = (await ask(send, { channelId: room, fileIds: [fileId] }, alice.token)).data.sendFiles.message;
    const look = `query ($id: UUID!, $fileId: UUID!) {
      message(id: $id) { files { nodes { id url } } }
      file(id: $fileId) { url previewUrl }
    }`;
    const seen = async ({ token }: Person) => (await ask(look, { id, fileId }, token)).data;
    const { message } = await seen(bob);
    t.equal(message.files.nodes[0].id, fileId);
    await ask('mutation ($id: UUID!) { deleteMessage(input: {id: $id}) { message { id } } }', { id }, alice.token);
    t.strictSame(await seen(bob), { message: { files: { nodes: [] } }, file: null }, 'no list, no new link');
    t.match(await ask(send, { channelId: await roomOf(bob), fileIds: [fileId] }, bob.token), {
      errors: [{ extensions: { code: 'NOT_FOUND' } }],
    });
    t.match(await seen(alice), { message: { files: { nodes: [] } }, file: { url: /^\/files\// } });
    t.equal(await (await download(message.files.nodes[0].url)).text(), 'withdrawn.txt of alice', 'until it expires');
  });

  t.test('a public file is anyone’s to read, by an address that does not change', async (t) => {
    const file = await make(alice, 'logo.txt', true);
    t.equal(file.url, `/files/${file.id}`);
    const answer = await download(file.url);
    t.equal(await answer.text(), 'logo.txt of alice');
    t.match(answer.headers.get('cache-control'), /^public, max-age=86400/);
    t.equal((await ask(see, { id: file.id }, mallory.token)).data.file.name, 'logo.txt');
    await cleanUp();
    t.equal((await download(file.url)).status, 200, 'it stays');
  });

  t.test('what no message has any more goes, with its bytes; what one has stays', async (t) => {
    await cleanUp();
    const before = await stored();
    const names = ['kept', 'gone', 'loose', 'twice'] as const;
    const made: Record<string, { id: string; url: string }> = {};
    for (const name of names) made[name] = await make(alice, `${name} ${Math.random()}`);
    const sendOne = async (name: (typeof names)[number]): Promise<string> =>
      (await ask(send, { channelId: room, fileIds: [made[name]?.id] }, alice.token)).data.sendFiles.message.id;
    await sendOne('kept');
    const messages = [await sendOne('gone'), await sendOne('twice')];
    await sendOne('twice');
    await sql('select files.expire_files()');
    t.equal((await download(made.loose?.url ?? '')).status, 200, 'for a day it waits to be sent');
    for (const id of messages)
      await ask('mutation ($id: UUID!) { deleteMessage(input: {id: $id}) { message { id } } }', { id }, alice.token);
    await cleanUp();
    for (const name of names) {
      const isThere = name === 'kept' || name === 'twice';
      t.equal((await download(made[name]?.url ?? '')).status, isThere ? 200 : 404, name);
    }
    t.equal((await stored()).length, before.length + 2);
    await sql('delete from chat.messages where channel_id = $1', [room]);
    await cleanUp();
    t.equal((await download(made.kept?.url ?? '')).status, 404, 'with the last message');
  });

  t.test('a file that is just being sent is not removed, whoever comes first', async (t) => {
    const den = await roomOf(alice);
    for (let round = 0; round < 15; round += 1) {
      const file = await make(alice, `round ${round}`);
      await sql("update files.files set loose_since = now() - interval '2 days' where id = $1", [file.id]);
      const [sent] = await Promise.all([
        ask(send, { channelId: den, fileIds: [file.id] }, alice.token),
        sql('select files.expire_files()'),
      ]);
      const there = (await sql('select id from files.files where id = $1', [file.id])).length;
      if (sent.errors) t.match([sent.errors, there], [[{ extensions: { code: 'NOT_FOUND' } }], 0]);
      else t.strictSame([sent.data.sendFiles.message.files.nodes.length, there], [1, 1]);
    }
    const { rows } = await world.owner.query(
      'select channel.last_seq, count(attached) as files from chat.channels as channel left join files.attachments as attached on attached.channel_id = channel.id where channel.id = $1 group by 1',
      [den],
    );
    t.equal(rows[0].last_seq, rows[0].files, 'no message without its file');
  });

  t.test('a removed account leaves what it sent, and nothing else; what its files took is counted', async (t) => {
    const carol = await world.person('carol');
    const den = await roomOf(alice);
    const add =
      'mutation ($channelId: UUID!, $userId: UUID!) { addMember(input: {channelId: $channelId, userId: $userId}) { member { role } } }';
    await ask(add, { channelId: den, userId: carol.id }, alice.token);
    const [sent, own, open] = [await make(carol, 'sent'), await make(carol, 'own'), await make(carol, 'open', true)];
    await ask(send, { channelId: den, fileIds: [sent.id] }, carol.token);
    const { data } = await ask('{ myFileUsage { bytes files } }', {}, carol.token);
    t.strictSame(data.myFileUsage, { bytes: String('sent of carolown of carolopen of carol'.length), files: '3' });
    t.notOk((await ask('mutation { removeAccount { ok } }', {}, carol.token)).errors);
    await cleanUp();
    t.equal((await ask(see, { id: sent.id }, alice.token)).data.file.name, 'sent');
    for (const { url } of [own, open]) t.equal((await download(url)).status, 404);
    t.match(await sql('select files from files.usage where user_id = $1', [carol.id]), [{ files: '1' }]);
  });
});

for (const kind of kinds) {
  t.test(`C12 uploads by a URL into ${kind}`, async (t) => {
    const world = await openFilesWorld(t, kind);
    const { alice, ask, sql, settled, cleanUp, stored, presigned } = world;
    const begin = async (bytes: number) => {
      const create =
        'mutation ($bytes: BigInt!) { createUpload(input: {name: "a.bin", bytes: $bytes}) { fileUpload { id uploadUrl } } }';
      const { id, uploadUrl } = (await ask(create, { bytes: String(bytes) }, alice.token)).data.createUpload.fileUpload;
      return { id, url: new URL(uploadUrl, world.server.url) };
    };
    const put = (url: URL, body: string) => fetch(url, { method: 'PUT', body });
    const complete = async (id: string) => {
      await ask(
        'mutation ($id: UUID!) { completeUpload(input: {uploadId: $id}) { fileUpload { state } } }',
        { id },
        alice.token,
      );
      await settled();
      const query = 'query ($id: UUID!) { fileUpload(id: $id) { state problem uploadUrl file { id bytes url } } }';
      return (await ask(query, { id }, alice.token)).data.fileUpload;
    };

    t.test('one that nothing was put to is refused', async (t) => {
      const { id } = await begin(5);
      t.strictSame(await complete(id), {
        state: 'REFUSED',
        problem: 'Nothing was put there.',
        uploadUrl: null,
        file: null,
      });
    });

    if (kind === 'S3') {
      t.test('its address is signed for so many bytes, and for the time that is left', async (t) => {
        const { searchParams } = (await begin(5)).url;
        t.equal(searchParams.get('X-Amz-SignedHeaders'), 'content-length;host');
        t.ok(Number(searchParams.get('X-Amz-Expires')) <= 3600);
      });
    } else {
      t.test('its address is good for PUT, and for this upload', async (t) => {
        const [one, other] = [await begin(5), await begin(5)];
        t.equal((await fetch(one.url)).status, 405);
        const wrong = new URL(other.url.pathname + one.url.search, one.url);
        t.equal((await put(wrong, 'wrong')).status, 404);
        wrong.searchParams.set('expires', '99999999999');
        t.equal((await put(wrong, 'wrong')).status, 404);
        t.equal((await put(one.url, 'right')).status, 204);
        await complete(one.id);
        t.equal((await put(one.url, 'later')).status, 409);
      });
    }

    t.test('one of another size than was announced is refused', async (t) => {
      for (const body of ['four', 'longer']) {
        const { id, url } = await begin(5);
        const answer = await put(url, body);
        if (kind === 'a folder') t.equal(answer.status, 400);
        t.match(await complete(id), { state: 'REFUSED', file: null });
      }
    });

    t.test('one that the quota has no room for any more is refused, with the reason', async (t) => {
      const { id, url } = await begin(5);
      await put(url, 'fives');
      await sql('insert into files.quotas values ($1, 4)', [alice.id]);
      t.match(await complete(id), { state: 'REFUSED', problem: 'Your files may take 4 bytes.', file: null });
      await sql('delete from files.quotas');
      t.match(
        await sql('select type from events.log where topic = $1 order by seq desc limit 1', [`user:${alice.id}`]),
        [{ type: 'file_refused' }],
      );
    });

    t.test('one whose check took too long is checked again', async (t) => {
      const { id, url } = await begin(5);
      await put(url, 'tardy');
      await sql(`create function files.hurry() returns trigger language plpgsql as
        $$ begin new.remove_at := now(); return new; end $$`);
      await sql(`create trigger hurry before insert on files.leftovers
        for each row when (new.stored like 'content/%') execute function files.hurry()`);
      const answered = complete(id);
      const tried =
        "select coalesce(max(attempt), 0) > 0 and (max(error) is not null or bool_and(finished_at is not null)) as tried from jobs.runs where payload ->> 'upload_id' = $1";
      while (!(await sql(tried, [id]))[0]?.tried) await setTimeout(50);
      await sql('drop trigger hurry on files.leftovers');
      t.match(await answered, { state: 'DONE', problem: null });
    });

    t.test('its worker acts as plinth_owner, whoever it logs in as', async (t) => {
      const { id, url } = await begin(5);
      await put(url, 'owner');
      await sql('create table files.actors (name text)');
      await sql('grant insert on files.actors to public');
      await sql(`create function files.note_actor() returns trigger language plpgsql as
        $$ begin insert into files.actors values (current_user); return new; end $$`);
      await sql(`create trigger note_actor before insert on files.leftovers
        for each row when (new.stored like 'content/%') execute function files.note_actor()`);
      t.match(await complete(id), { state: 'DONE' });
      await sql('drop trigger note_actor on files.leftovers');
      t.strictSame(await sql('select name from files.actors'), [{ name: 'plinth_owner' }]);
    });

    t.test('one that could not be checked within a day is given up, and its owner told', async (t) => {
      const { id } = await begin(5);
      await sql(
        "update files.file_uploads set state = 'checking', expires_at = now() - interval '1 minute' where id = $1",
        [id],
      );
      await sql('select files.expire_files()');
      t.match(
        await sql('select data from events.log where topic = $1 order by seq desc limit 1', [`user:${alice.id}`]),
        [{ data: { upload_id: id } }],
      );
    });

    t.test('what is put after it was completed changes nothing', async (t) => {
      const { id, url } = await begin(5);
      await put(url, 'first');
      await put(url, 'again');
      const { file } = await complete(id);
      await put(url, 'third');
      t.equal(await (await world.download(file.url)).text(), 'again');
      t.match(await complete(id), { state: 'DONE', file: { id: file.id } }, 'completing twice gives the same');
    });

    t.test('completed by ten at once, it is one file', async (t) => {
      const { id, url } = await begin(5);
      await put(url, 'first');
      await Promise.all(Array.from({ length: 10 }, () => complete(id)));
      t.equal((await sql('select id from files.file_uploads where id = $1 and file_id is not null', [id])).length, 1);
      t.equal(
        (await sql("select id from jobs.runs where task = 'check_upload' and payload ->> 'upload_id' = $1", [id]))
          .length,
        1,
      );
    });

    t.test('a storage that is gone while it is checked is waited for', async (t) => {
      const { id, url } = await begin(5);
      await put(url, 'later');
      const back = await world.breakStorage();
      await ask(
        'mutation ($id: UUID!) { completeUpload(input: {uploadId: $id}) { fileUpload { state } } }',
        { id },
        alice.token,
      );
      const [run] = await sql("select id from jobs.runs where payload ->> 'upload_id' = $1", [id]);
      for (let failed = false; !failed; )
        [{ failed }] = (await sql('select attempt > 0 and error is not null as failed from jobs.runs where id = $1', [
          run?.id,
        ])) as [{ failed: boolean }];
      back();
      t.match(await complete(id), { state: 'DONE' });
    });

    t.test('its owner is told when it is done, and nothing is left of what is not', async (t) => {
      const { file } = await presigned(alice, { name: 'told', bytes: 'told' });
      const events = await sql(
        "select type, data from events.log where topic = $1 and type like 'file%' order by seq desc limit 1",
        [`user:${alice.id}`],
      );
      t.match(events, [{ type: 'file_ready', data: { file_id: file?.id } }]);
      const { url } = await begin(5);
      await put(url, 'stays');
      await cleanUp();
      t.ok(
        (await stored()).every((name) => name.startsWith('content/')),
        'nothing that came in is left',
      );
      t.equal((await stored()).length, Number((await sql('select count(*) from files.contents'))[0]?.count));
    });

    t.test('parts, unchanged files and heads are answered as HTTP says', async (t) => {
      const { file } = await presigned(alice, { name: 'parts', bytes: '0123456789' });
      const url = (file as unknown as { url: string }).url;
      const parts: [Record<string, string>, number, string, string | null][] = [
        [{ range: 'bytes=2-4' }, 206, '234', 'bytes 2-4/10'],
        [{ range: 'bytes=7-' }, 206, '789', 'bytes 7-9/10'],
        [{ range: 'bytes=-2' }, 206, '89', 'bytes 8-9/10'],
        [{ range: 'bytes=0-99' }, 206, '0123456789', 'bytes 0-9/10'],
        [{ range: 'bytes=0-1,5-6' }, 200, '0123456789', null],
        [{ range: 'lines=1-2' }, 200, '0123456789', null],
        [{ range: 'bytes=4-2' }, 416, '', 'bytes */10'],
        [{ range: 'bytes=10-' }, 416, '', 'bytes */10'],
        [{ range: 'bytes=0-1', 'if-range': '"other"' }, 200, '0123456789', null],
      ];
      for (const [headers, status, text, range] of parts) {
        const answer = await world.download(url, headers);
        t.strictSame([answer.status, answer.headers.get('content-range')], [status, range], JSON.stringify(headers));
        const body = await answer.text();
        if (status !== 416) t.equal(body, text);
      }
      const whole = await world.download(url);
      const etag = whole.headers.get('etag') ?? '';
      t.equal((await whole.text()).length, 10);
      t.equal((await world.download(url, { range: 'bytes=0-1', 'if-range': etag })).status, 206);
      t.equal((await world.download(url, { 'if-none-match': `"x", W/${etag}` })).status, 304);
      const head = await fetch(new URL(url, world.server.url), { method: 'HEAD' });
      t.strictSame([head.status, head.headers.get('content-length'), await head.text()], [200, '10', '']);
    });
  });
}
