import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import path from 'node:path';
import { startFauxqs } from 'fauxqs';
import type { Test } from 'tap';
import { readSettings } from '../../functions/settings.ts';
import { openStorage, type Storage } from '../../functions/storage.ts';
import { tasks } from '../../workers/tasks.ts';
import type { Workers } from '../../workers/workers.ts';
import { temporaryFolder } from '../running-plinth.ts';
import { type JobsWorld, openJobsWorld } from '../workers/jobs-world.ts';
import type { Answer, Person } from '../world.ts';

export type Kind = 'a folder' | 'S3';
export const kinds: Kind[] = ['a folder', 'S3'];

type Sent = { name: string; bytes: Uint8Array | string; type?: string };

/** A world whose files are in a folder or in S3, with workers that know the tasks of files. */
export type FilesWorld = JobsWorld & {
  kind: Kind;
  storage: Storage;
  workers: Workers;
  alice: Person;
  bob: Person;
  mallory: Person;
  /** A room of alice's with bob in it. */
  room: string;
  /** A multipart request. */
  send(query: string, files: Sent[], variables: object, token?: string): Promise<Response>;
  /** Uploads a file in a multipart request and gives it. */
  upload(person: Person, file: Sent, isPublic?: boolean): Promise<Answer>;
  /** Uploads a file by a presigned URL, until it is done or refused. */
  presigned(person: Person, file: Sent): Promise<{ state: string; problem: string | null; file: File | null }>;
  /** GET of an address that the API gave. */
  download(url: string, headers?: Record<string, string>): Promise<Response>;
  /** Waits until no job of files is left to do. */
  settled(): Promise<void>;
  /** Does the upkeep of days: what nothing refers to goes. */
  cleanUp(): Promise<void>;
  /** Takes the storage away; gives what brings it back. */
  breakStorage(): Promise<() => void>;
  /** What stands in the storage. */
  stored(): Promise<string[]>;
};
type File = { id: string; name: string; mediaType: string; bytes: string };

export const fields =
  'id name mediaType bytes sha256 width height previewWidth previewHeight isPublic url previewUrl owner { username }';

export async function openFilesWorld(t: Test, kind: Kind, env: Record<string, string> = {}): Promise<FilesWorld> {
  const place = kind === 'S3' ? await bucket(t) : folder(t);
  const own = { ...place.env, ...env };
  const world = await openJobsWorld(t, { env: own });
  const workers = await world.work(tasks, own);
  const storage = openStorage(own.FILE_STORAGE ?? '', readSettings({ PLINTH_ENV: 'development', ...own }));
  const people = await Promise.all(['alice', 'bob', 'mallory'].map((name) => world.person(name)));
  const [alice, bob, mallory] = people as [Person, Person, Person];
  const { data } = await world.ask(
    'mutation { createRoom(input: {name: "Harbour"}) { channel { id } } }',
    {},
    alice.token,
  );
  const room: string = data.createRoom.channel.id;
  const add =
    'mutation ($channelId: UUID!, $userId: UUID!) { addMember(input: {channelId: $channelId, userId: $userId}) { member { role } } }';
  await world.ask(add, { channelId: room, userId: bob.id }, alice.token);

  const send: FilesWorld['send'] = (query, files, variables, token) => {
    const form = new FormData();
    form.set('operations', JSON.stringify({ query, variables }));
    form.set(
      'map',
      JSON.stringify(
        Object.fromEntries(files.map((_, n) => [n, [files.length > 1 ? `variables.file${n}` : 'variables.file']])),
      ),
    );
    files.forEach(({ name, bytes, type = 'application/octet-stream' }, n) => {
      form.set(String(n), new Blob([bytes as BlobPart], { type }), name);
    });
    return fetch(`${world.server.url}graphql`, {
      method: 'POST',
      body: form,
      headers: { ...(token && { authorization: `Bearer ${token}` }) },
    });
  };
  const settled = async (): Promise<void> => {
    const open =
      "select id from jobs.runs where task in ('check_upload', 'preview_file', 'remove_files') and state in ('queued', 'running')";
    for (const { id } of await world.sql(open)) await world.ended(id);
  };
  return {
    ...world,
    kind,
    storage,
    workers,
    breakStorage: place.breakStorage,
    alice,
    bob,
    mallory,
    room,
    send,
    settled,
    async cleanUp() {
      await settled();
      await world.sql(
        "update files.file_uploads set expires_at = now() - interval '1 day' where state in ('open', 'refused')",
      );
      for (let round = 0; round < 2; round += 1) {
        await world.sql("update files.files set loose_since = now() - interval '2 days' where loose_since is not null");
        await world.sql(
          "update files.contents set loose_since = now() - interval '2 days' where loose_since is not null",
        );
        await world.sql('select files.expire_files()');
      }
      await world.sql("update files.leftovers set remove_at = now() - interval '1 hour'");
      const [run] = await world.sql("select (jobs.enqueue('remove_files')).id");
      const ended = await world.ended(run?.id);
      if (ended.state !== 'succeeded') throw new Error(ended.error);
    },
    stored: async () => (await storage.list('')).map(({ name }) => name),
    download: (url, headers = {}) => fetch(new URL(url, world.server.url), { headers }),
    async upload({ token }, file, isPublic = false) {
      const query = `mutation ($file: Upload!, $isPublic: Boolean) { uploadFile(input: {file: $file, isPublic: $isPublic}) { file { ${fields} } } }`;
      return (await send(query, [file], { file: null, isPublic }, token)).json() as Promise<Answer>;
    },
    async presigned({ token }, { name, bytes }) {
      const create =
        'mutation ($name: String!, $bytes: BigInt!) { createUpload(input: {name: $name, bytes: $bytes}) { fileUpload { id uploadUrl } } }';
      const begun = await world.ask(create, { name, bytes: String(Buffer.byteLength(bytes)) }, token);
      const { id, uploadUrl } = begun.data.createUpload.fileUpload;
      const put = await fetch(new URL(uploadUrl, world.server.url), { method: 'PUT', body: bytes as BodyInit });
      if (!put.ok) throw new Error(`${put.status} ${await put.text()}`);
      const complete = 'mutation ($id: UUID!) { completeUpload(input: {uploadId: $id}) { fileUpload { state } } }';
      await world.ask(complete, { id }, token);
      await settled();
      const query = `query ($id: UUID!) { fileUpload(id: $id) { state problem file { ${fields} } } }`;
      return (await world.ask(query, { id }, token)).data.fileUpload;
    },
  };
}

type Place = { env: Record<string, string>; breakStorage: FilesWorld['breakStorage'] };

function folder(t: Test): Place {
  const place = path.join(temporaryFolder(t), 'files');
  mkdirSync(place);
  return {
    env: { FILE_STORAGE: place },
    async breakStorage() {
      renameSync(place, `${place}.away`);
      writeFileSync(place, '');
      return () => {
        rmSync(place);
        renameSync(`${place}.away`, place);
      };
    },
  };
}

/** A bucket behind a way that can be cut. */
async function bucket(t: Test): Promise<Place> {
  const s3 = await startFauxqs({ port: 0, logger: false });
  t.teardown(() => s3.stop());
  s3.createBucket('files');
  const open = new Set<Socket>();
  let isCut = false;
  const way = createServer((socket) => {
    if (isCut) return void socket.destroy();
    const there = connect(s3.port, '127.0.0.1');
    for (const end of [socket, there]) {
      open.add(end);
      end.on('error', () => {}).on('close', () => open.delete(end));
    }
    socket.pipe(there).pipe(socket);
  });
  await new Promise<void>((resolve) => way.listen(0, '127.0.0.1', resolve));
  const end = (): void => {
    for (const socket of open) socket.destroy();
  };
  t.teardown(() => {
    end();
    way.close();
  });
  const { port } = way.address() as AddressInfo;
  return {
    env: {
      FILE_STORAGE: 's3://files/of/users',
      S3_ENDPOINT: `http://127.0.0.1:${port}`,
      S3_KEY: 'key',
      S3_SECRET: 'secret',
    },
    async breakStorage() {
      isCut = true;
      end();
      return () => {
        isCut = false;
      };
    },
  };
}

export function sha256(bytes: Uint8Array | string): Buffer {
  return createHash('sha256').update(bytes).digest();
}
