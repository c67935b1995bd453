import type pg from 'pg';
import pino from 'pino';
import { readCatalog } from '../../functions/catalog.ts';
import { openRequests } from '../../functions/requests.ts';
import { readSettings } from '../../functions/settings.ts';
import type { Claims } from '../../functions/tokens.ts';
import { executeOperation } from '../../graphql/execute.ts';
import { openOperations } from '../../graphql/operations.ts';
import { buildSchema } from '../../graphql/schema.ts';
import type { Case } from './cases.ts';

/** The statements that Plinth sends for one request, the first of them the one that takes role and claims. */
export type Captured = {
  /** The case and the place among its variables: `0/3`. */
  name: string;
  /** The field of a mutation, whose answer the last statement gives. */
  key: string | null;
  sent: { text: string; values: (string | null)[] }[];
};

/**
 * Runs each request of the cases once, and records what goes over the connection to Postgres.
 *
 * @param url the database as plinth_server.
 * @param owner reads the catalog.
 */
export async function capture(url: string, owner: pg.ClientBase, cases: Case[], claims: Claims): Promise<Captured[]> {
  const catalog = await readCatalog(owner as pg.Client);
  const schema = buildSchema(catalog);
  const operations = openOperations(schema, readSettings({}));
  const log = pino({ level: 'silent' });
  const requests = openRequests(url, { size: 1, log });
  requests.setTimeouts(catalog.statementTimeouts);
  const engine = {
    schema,
    errorCodes: catalog.errorCodes,
    requests,
    sign: async () => '',
    deliver: async () => {},
    signal: () => {},
    unforeseen: (error: unknown) => {
      throw error;
    },
  };
  const sent: Captured['sent'] = [];
  requests.pool.on('connect', (client) => listen(client, sent));
  const caller = {
    role: claims.role,
    claims: { sub: claims.sub ?? '', sid: claims.sid ?? '', address: '127.0.0.1', user_agent: '', request_id: 'bench' },
  };

  const captured: Captured[] = [];
  for (const [index, { plinth, variables }] of cases.entries()) {
    const operation = operations(plinth, undefined);
    const key =
      operation.kind === 'mutation' ? (/{\s*(\w+)/.exec(plinth.slice(plinth.indexOf(')')))?.[1] ?? null) : null;
    for (const [place, given] of variables.entries()) {
      sent.length = 0;
      const asked = { caller, id: 'bench', signal: new AbortController().signal };
      const answer = await executeOperation(engine, operation, given, asked);
      if (answer.errors) throw new Error(`Plinth refuses what is to be measured: ${JSON.stringify(answer.errors)}`);
      captured.push({ name: `${index}/${place}`, key, sent: [...sent] });
    }
  }
  await requests.close();
  return captured;
}

/** Notes the statements that a connection is given, with their values. */
function listen(client: pg.ClientBase, sent: Captured['sent']): void {
  type Wire = {
    parse(query: { name: string; text: string }): void;
    bind(config: { statement: string; values: (string | null)[] }): void;
  };
  const { connection } = client as unknown as { connection: Wire };
  const texts = new Map<string, string>();
  const { parse, bind } = connection;
  connection.parse = (query) => {
    texts.set(query.name, query.text);
    parse.call(connection, query);
  };
  connection.bind = (config) => {
    sent.push({ text: texts.get(config.statement) ?? '', values: [...config.values] });
    bind.call(connection, config);
  };
}
