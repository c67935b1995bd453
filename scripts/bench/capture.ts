import pino from 'pino';
import { readCatalog } from '../../functions/catalog.ts';
import { type Caller, openRequests } from '../../functions/requests.ts';
import { readSettings } from '../../functions/settings.ts';
import { executeOperation } from '../../graphql/execute.ts';
import { openOperations } from '../../graphql/operations.ts';
import { buildSchema } from '../../graphql/schema.ts';
import type { Case } from './cases.ts';
import { claimsOf, type Viewer } from './ground.ts';

/** What Plinth sends Postgres for one request, after the statement that takes role and claims. */
export type Captured = {
  /** The case and the place among its variables: `0/3`. */
  name: string;
  /** The field of a mutation, whose answer the last statement gives. */
  key: string | null;
  caller: Caller;
  calls: { text: string; values: (string | null)[] }[];
};

/**
 * Runs each request of the cases once as the viewer, and records its statements.
 *
 * @param url the database as plinth_server.
 */
export async function capture(url: string, cases: Pick<Case, 'plinth' | 'variables'>[], viewer: Viewer) {
  const requests = openRequests(url, { size: 1, log: pino({ level: 'silent' }) });
  const client = await requests.pool.connect();
  const { errorCodes, statementTimeouts, ...catalog } = await readCatalog(client).finally(() => client.release());
  requests.setTimeouts(statementTimeouts);
  const schema = buildSchema({ ...catalog, errorCodes, statementTimeouts });
  const caller: Caller = { role: 'member', claims: claimsOf(viewer) };
  let calls: Captured['calls'] = [];
  const engine = {
    schema,
    operations: openOperations(schema, readSettings({})),
    errorCodes,
    requests: {
      ...requests,
      run: (...[as, sent, options]: Parameters<typeof requests.run>) => {
        calls = sent.map(({ statement, values }) => ({ text: statement.text, values }));
        return requests.run(as, sent, options);
      },
    },
    maxAnswerBytes: Infinity,
    sign: async () => '',
    deliver: async () => {},
    signal: () => {},
    gather: () => {},
    seal: async (json: string) => json,
    unforeseen: (error: unknown) => {
      throw error;
    },
  };

  const captured: Captured[] = [];
  for (const [index, { plinth, variables }] of cases.entries()) {
    const operation = engine.operations(plinth, undefined);
    for (const [place, given] of variables.entries()) {
      const asked = { caller, id: 'bench', signal: new AbortController().signal };
      const { data, errors } = await executeOperation(engine, operation, given, asked);
      if (errors) throw new Error(`Plinth refuses what is to be measured: ${JSON.stringify(errors)}`);
      const [key = null] = operation.kind === 'mutation' ? Object.keys(JSON.parse(data ?? '{}')) : [];
      captured.push({ name: `${index}/${place}`, key, caller, calls });
    }
  }
  await requests.close();
  return captured;
}
