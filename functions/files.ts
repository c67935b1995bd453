import type pg from 'pg';
import type { Taken } from './intake.ts';
import { prepare } from './pipeline.ts';
import type { Caller, Requests } from './requests.ts';

/** Where the bytes of an upload are to be written, and how many at most. */
export type Incoming = { id: string; stored: string; most: number };

/** What is to be sent to who holds a link. */
export type Download = {
  stored: string;
  name: string;
  media_type: string;
  bytes: number;
  etag: string;
  is_inline: boolean;
  is_public: boolean;
  seconds: number;
};

const begin = prepare('select id, stored, most from files.begin_upload($1)');
const cancel = prepare('select files.cancel_uploads($1::uuid[])');

/** What the server asks of the section `files`; the rules stand there. */
export function openFiles(requests: Requests) {
  return {
    /** Lets a caller upload; ends with the error of whatever forbids it. */
    async begin(caller: Caller, name: string): Promise<Incoming> {
      const [rows] = await requests.run(caller, [{ statement: begin, values: [name] }], { readOnly: false });
      const [id, stored, most] = rows?.[0] ?? [];
      return { id: id as string, stored: stored as string, most: Number(most) };
    },
    async received(id: string, stored: string, taken: Taken): Promise<void> {
      await requests.runAsServer(receivedQuery(id, stored, taken), id);
    },
    /** Ends the uploads that have not become files. */
    async cancel(caller: Caller, ids: string[]): Promise<void> {
      await requests.run(caller, [{ statement: cancel, values: [`{${ids.join()}}`] }], { readOnly: false });
    },
    /** @param sender whose share of the connections it counts against. */
    async openUpload(sender: string, id: string, expires: string | null, signature: string | null): Promise<Incoming> {
      const text = 'select id, stored, most from files.open_upload($1, $2, $3)';
      const { rows } = await requests.runAsServer({ text, values: [id, expires, signature] }, sender);
      return { ...rows[0], most: Number(rows[0].most) };
    },
    async openDownload(
      sender: string,
      id: string,
      variant: string,
      expires: string | null,
      signature: string | null,
    ): Promise<Download> {
      const text = 'select * from files.open_download($1, $2, $3, $4)';
      const values = [id, variant, expires, signature];
      const { rows } = await requests.runAsServer({ name: 'open_download', text, values }, sender);
      return { ...rows[0], bytes: Number(rows[0].bytes) };
    },
  };
}
export type Files = ReturnType<typeof openFiles>;

function receivedQuery(id: string, stored: string, { sha256, bytes, mediaType }: Taken): pg.QueryConfig {
  return {
    text: 'select files.received($1, $2, $3, $4, $5)',
    values: [id, stored, Buffer.from(sha256, 'hex'), bytes, mediaType],
  };
}

/** What the workers ask of it, as its owner. */
export function openFileWork(client: pg.ClientBase) {
  const one = async <Row>(text: string, values: unknown[]): Promise<Row | undefined> =>
    (await client.query(text, values)).rows[0] as Row | undefined;
  return {
    /** Where an upload is, and where it is to be written; nothing where it has been checked. */
    toCheck: (id: string) =>
      one<{ incoming: string; stored: string; bytes: string }>('select * from files._to_check($1)', [id]),
    async received(id: string, stored: string, taken: Taken): Promise<void> {
      await client.query(receivedQuery(id, stored, taken));
    },
    async refuse(id: string, problem: string): Promise<void> {
      await client.query('select files._refuse_upload($1, $2)', [id, problem]);
    },
    /** An image without a preview, and where that is to be written. */
    toPreview: (id: string) =>
      one<{ stored: string; preview: string; pixels: string; size: number }>('select * from files._to_preview($1)', [
        id,
      ]),
    async previewed(
      id: string,
      preview: string,
      image: { width: number; height: number },
      small: { width: number; height: number; bytes: number },
    ): Promise<void> {
      await client.query('select files._previewed($1, $2, $3, $4, $5, $6, $7)', [
        ...[id, image.width, image.height, preview, small.width, small.height, small.bytes],
      ]);
      await client.query('select files._tell_previewed($1)', [id]);
    },
    async unpreviewed(id: string, problem: string): Promise<void> {
      await client.query('select files._unpreviewed($1, $2)', [id, problem]);
    },
    async expire(): Promise<number> {
      return Number((await one<{ count: string }>('select files.expire_files() as count', []))?.count);
    },
    async leftovers(most: number): Promise<string[]> {
      const { rows } = await client.query('select files._due_leftovers($1) as stored', [most]);
      return rows.map(({ stored }) => stored);
    },
    async removed(stored: string[]): Promise<void> {
      await client.query('select files._removed($1)', [stored]);
    },
  };
}
