import { z } from 'zod';
import { asOwner, connected } from '../functions/connection.ts';
import { openFileWork } from '../functions/files.ts';
import { NotTaken, takeIn } from '../functions/intake.ts';
import { isRefusal } from '../functions/refusal.ts';
import { NotStored, openStorage, type Storage } from '../functions/storage.ts';
import type { Task, Work } from './task.ts';

type FileWork = ReturnType<typeof openFileWork>;

/** What a task does with the storage of files and with their rows. */
function withFiles<Result>(
  { databaseUrl, settings }: Work,
  act: (files: FileWork, storage: Storage) => Promise<Result>,
): Promise<Result> {
  const storage = openStorage(settings.fileStorage, settings);
  return connected(asOwner(databaseUrl), (client) => act(openFileWork(client), storage));
}

const uploadPayload = z.strictObject({ upload_id: z.uuid() });
const storagePatience = 120_000;

/** Reads what a client has put, as nobody else has seen it, into a name that the client cannot write to. */
export const checkUploadTask: Task<z.output<typeof uploadPayload>> = {
  name: 'check_upload',
  payload: uploadPayload,
  run: ({ upload_id: id }, work) =>
    withFiles(work, async (files, storage) => {
      const upload = await files.toCheck(id);
      if (!upload) return { state: 'done before' };
      const { incoming, stored } = upload;
      const bytes = Number(upload.bytes);
      try {
        const from = await storage.get(incoming, work.signal);
        const taken = await takeIn(storage, stored, from, {
          most: bytes,
          patience: storagePatience,
          signal: work.signal,
        });
        if (taken.bytes === bytes) {
          await files.received(id, stored, taken);
          return taken;
        }
        return await refuse(`${bytes} bytes were announced, and ${taken.bytes} came.`);
      } catch (error) {
        if (error instanceof NotStored) return await refuse('Nothing was put there.');
        if (error instanceof NotTaken && error.reason === 'too large')
          return await refuse(`More than the ${bytes} bytes came that were announced.`);
        // What Postgres refuses once (no quota is left) it refuses again.
        const { code, message } = error as Error & { code?: string };
        if (isRefusal(code)) return await refuse(message);
        throw error;
      }

      async function refuse(problem: string): Promise<{ problem: string }> {
        await files.refuse(id, problem);
        return { problem };
      }
    }),
};

const contentPayload = z.strictObject({ content_id: z.uuid() });

/** Makes the preview of an image. */
export const previewFileTask: Task<z.output<typeof contentPayload>> = {
  name: 'preview_file',
  payload: contentPayload,
  run: ({ content_id: id }, work) =>
    withFiles(work, async (files, storage) => {
      // Not before it is needed: reading images is a large library.
      const { makePreview, NoImage } = await import('./preview.ts');
      const wanted = await files.toPreview(id);
      if (!wanted) return { state: 'done before' };
      try {
        const from = await storage.get(wanted.stored, work.signal);
        const { data, image, width, height } = await makePreview(from, Number(wanted.pixels), wanted.size);
        await storage.put(
          wanted.preview,
          (async function* () {
            yield data;
          })(),
          work.signal,
        );
        await files.previewed(id, wanted.preview, image, { width, height, bytes: data.length });
        return { width, height };
      } catch (error) {
        if (!(error instanceof NoImage)) throw error;
        await files.unpreviewed(id, error.message);
        return { problem: error.message };
      }
    }),
};

const nothing = z.strictObject({});
const atOnce = 1000;

/** Removes what nothing refers to: first the rows, then, when no upload can claim it any more, what stands in the storage. */
export const removeFilesTask: Task<z.output<typeof nothing>> = {
  name: 'remove_files',
  payload: nothing,
  run: (_, work) =>
    withFiles(work, async (files, storage) => {
      let [rows, removed] = [0, 0];
      for (let count = await files.expire(); count > 0; count = await files.expire()) {
        work.signal.throwIfAborted();
        rows += count;
      }
      for (let due = await files.leftovers(atOnce); due.length > 0; due = await files.leftovers(atOnce)) {
        for (const stored of due) {
          work.signal.throwIfAborted();
          // And the drafts of whoever was killed while writing it.
          for (const { name } of await storage.list(stored)) await storage.remove(name);
        }
        await files.removed(due);
        removed += due.length;
        work.progress(undefined, `${removed} removed from ${storage.place}`);
      }
      return { rows, removed };
    }),
};
