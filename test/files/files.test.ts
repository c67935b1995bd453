import { randomBytes } from 'node:crypto';
import sharp from 'sharp';
import t from 'tap';
import type { Answer } from '../world.ts';
import { fields, kinds, openFilesWorld, sha256 } from './files-world.ts';

const send = `mutation ($channelId: UUID!, $fileIds: [UUID!]!, $text: String, $nonce: String) {
  sendFiles(input: {channelId: $channelId, fileIds: $fileIds, text: $text, nonce: $nonce}) {
    message { id kind text files { nodes { ${fields} } } }
  }
}`;

for (const kind of kinds) {
  t.test(`C12 files in ${kind}`, async (t) => {
    const world = await openFilesWorld(t, kind);
    const { alice, bob, mallory, room, ask, upload, presigned, download, settled } = world;
    const large = randomBytes(9_000_001);
    const photo = await sharp({ create: { width: 1600, height: 1200, channels: 3, background: 'teal' } })
      .jpeg()
      .toBuffer();

    t.test(
      'what is uploaded in a multipart request comes back as it was, with what it is and its SHA-256',
      async (t) => {
        const { data, errors } = await upload(alice, { name: 'C:\\temp\\../Größe \u202E.bin', bytes: large });
        t.equal(errors, undefined);
        const { file } = data.uploadFile;
        t.match(file, { name: 'Größe .bin', mediaType: 'application/octet-stream', bytes: '9000001', isPublic: false });
        t.equal(file.sha256, sha256(large).toString('base64'));
        const answer = await download(file.url);
        t.equal(answer.status, 200);
        t.strictSame(sha256(new Uint8Array(await answer.arrayBuffer())), sha256(large));
        t.match(answer.headers.get('content-disposition'), /^attachment; filename=/);
      },
    );

    t.test('several in one request become what each field says', async (t) => {
      const query = `mutation ($file0: Upload!, $file1: Upload!) {
        one: uploadFile(input: {file: $file0}) { file { name } }
        two: uploadFile(input: {file: $file1, isPublic: true}) { file { name isPublic } }
        again: uploadFile(input: {file: $file0}) { file { name } }
      }`;
      const files = [
        { name: '../../.profile', bytes: 'one' },
        { name: '..', bytes: 'two' },
      ];
      const answer = await world.send(query, files, { file0: null, file1: null }, alice.token);
      const { data, errors } = (await answer.json()) as Answer;
      t.strictSame(data, {
        one: { file: { name: '.profile' } },
        two: { file: { name: 'file', isPublic: true } },
        again: null,
      });
      t.match(errors, [{ path: ['again'], extensions: { code: 'NOT_FOUND', argument: 'file' } }]);
    });

    t.test('what is put to a presigned URL becomes a file when it has been checked', async (t) => {
      const { state, file } = await presigned(alice, { name: 'notes.txt', bytes: 'grüße\n' });
      t.equal(state, 'DONE');
      t.match(file, { name: 'notes.txt', mediaType: 'text/plain', bytes: '8' });
    });

    t.test('a photo is sent to a room, and seen there by its members only, with a preview', async (t) => {
      const { data } = await upload(alice, { name: 'photo.jpg', bytes: photo, type: 'text/html' });
      const { id, mediaType } = data.uploadFile.file;
      t.equal(mediaType, 'image/jpeg');
      await settled();
      const sent = await ask(send, { channelId: room, fileIds: [id] }, alice.token);
      t.equal(JSON.stringify(sent.errors), undefined);
      t.match(sent.data?.sendFiles?.message, { kind: 'IMAGE', text: 'photo.jpg' });
      const query = `query ($id: UUID!) { file(id: $id) { ${fields} } }`;
      const seen = await ask(query, { id }, bob.token);
      t.match(seen.data.file, {
        width: 1600,
        height: 1200,
        previewWidth: 640,
        previewHeight: 480,
        owner: { username: 'alice' },
      });
      t.strictSame((await ask(query, { id }, mallory.token)).data.file, null);
      const preview = await download(seen.data.file.previewUrl);
      t.equal(preview.headers.get('content-type'), 'image/webp');
      t.match(await sharp(Buffer.from(await preview.arrayBuffer())).metadata(), { width: 640, height: 480 });
    });
  });
}
