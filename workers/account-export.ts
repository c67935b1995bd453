import { z } from 'zod';
import { exportLines, noteExported } from '../functions/account-exports.ts';
import { asOwner, connected } from '../functions/connection.ts';
import { compressed } from './gzip.ts';
import { storeExport } from './stored-exports.ts';
import type { Task } from './task.ts';

const payload = z.strictObject({ export: z.uuid() });

/** Writes all that is kept of a user as compressed lines of JSON. Run twice, it writes the same file again. */
export const exportAccountTask: Task<z.output<typeof payload>> = {
  name: 'export_account',
  payload,
  run: ({ export: id }, { databaseUrl, settings, signal, progress }) =>
    connected(asOwner(databaseUrl), async (client) => {
      let lines = 0;
      async function* content(): AsyncGenerator<string> {
        for await (const page of exportLines(client, id)) {
          signal.throwIfAborted();
          lines += page.lines.length;
          progress(page.share, `${lines} lines`);
          yield page.lines.join('');
        }
      }
      const { file, bytes } = await storeExport(settings, `${id}.jsonl.gz`, compressed(content()), signal);
      await noteExported(client, id, file, bytes);
      return { lines, bytes };
    }),
};
