import type pg from 'pg';
import type { z } from 'zod';
import { readCatalog } from './catalog.ts';
import { arrayText, type Call, type Prepared, pipeline, prepare, type Rows } from './pipeline.ts';
import { type Caller, openRequests } from './requests.ts';
import { serverUrl } from './server-role.ts';
import type { Settings } from './settings.ts';

// What functions/generated/ stands on: `await sendMessage(as(caller), { channelId, text })`.

/** Runs the statements of a call in one transaction, as someone. */
export type Runner = (calls: Call[], options: { readOnly: boolean }) => Promise<Rows[]>;

/** A function of the database as the generator describes it. */
type Definition<Input extends z.ZodObject, Result extends z.ZodType> = {
  /** Its quoted name. */
  sql: string;
  volatile: boolean;
  input: Input;
  /** Each argument in SQL, where `$channelId::uuid` stands for that value of the input: `channel_id => $channelId::uuid`. */
  arguments: string[];
  /** The SQL that writes one result, `r`, as JSON; none where nothing is returned. */
  json?: string;
  many?: true;
  result: Result;
};

/** The input may be left out where nothing in it must be given. */
type Optional<Input> = Record<never, never> extends Input ? [input?: Input] : [input: Input];

/**
 * Makes a typed caller of a function in the database.
 *
 * @returns a function that checks its input, runs the call, and checks what comes back. It throws a ZodError for either, and for
 *   what Postgres or the function refuses an Error whose `code` is the SQLSTATE.
 */
export function caller<Input extends z.ZodObject, Result extends z.ZodType>(
  definition: Definition<Input, Result>,
): (run: Runner, ...input: Optional<z.input<Input>>) => Promise<z.output<Result>> {
  const { sql, volatile, json, many } = definition;
  // What is left out is not named, so that its default counts: each choice of arguments is a statement.
  const statements = new Map<string, { statement: Prepared; reads: Read[] }>();

  function statementFor(given: Record<string, unknown>): { statement: Prepared; reads: Read[] } {
    const named = definition.arguments.filter((each) => given[readsOf(each)[0]?.path[0] ?? ''] !== undefined);
    const key = named.join();
    const known = statements.get(key);
    if (known) return known;
    const reads = named.flatMap(readsOf);
    let count = 0;
    const list = named.map((each) => each.replace(read, (_, __, type: string) => `$${++count}::${type}`)).join(', ');
    const text = json
      ? `select (${json})::text from ${sql}(${list}) as r where not (r is null)`
      : `select null from ${sql}(${list})`;
    const made = { statement: prepare(text), reads };
    statements.set(key, made);
    return made;
  }

  return async (run, ...[input]) => {
    const given = definition.input.parse(input ?? {}) as Record<string, unknown>;
    const { statement, reads } = statementFor(given);
    const values = reads.map(({ path, type }) => encode(valueAt(given, path), type));
    const calls = volatile
      ? [
          { statement, values },
          { statement: refusal, values: [] },
        ]
      : [{ statement, values }];
    const [rows = [], [refused] = []] = await run(calls, { readOnly: !volatile });
    if (refused?.[0]) throw refusedError(JSON.parse(refused[0]));
    if (!json) return definition.result.parse(undefined);
    const results = rows.map(([text]) => JSON.parse(text ?? 'null'));
    return definition.result.parse(many ? results : (results[0] ?? null));
  };
}

type Read = { path: string[]; type: string };

const read = /\$([\w.]+)::([\w."]+(?:\[\])?)/g;

function readsOf(argument: string): Read[] {
  return [...argument.matchAll(read)].map(([, path = '', type = '']) => ({ path: path.split('.'), type }));
}

function valueAt(given: Record<string, unknown>, path: string[]): unknown {
  return path.reduce<unknown>((value, name) => (value as Record<string, unknown> | null)?.[name], given);
}

// Some functions keep what they wrote and refuse all the same (public.refuse in schema.sql).
const refusal = prepare("select nullif(current_setting('plinth.refused', true), '')");

function refusedError({ sqlstate, message }: { sqlstate: string; message: string }): Error {
  return Object.assign(new Error(message), { code: sqlstate });
}

/** A checked value in Postgres's text form. */
function encode(value: unknown, type: string): string | null {
  if (value === null || value === undefined) return null;
  if (type === 'jsonb' || type === 'json') return JSON.stringify(value);
  if (type === 'bytea') return `\\x${Buffer.from(String(value), 'base64').toString('hex')}`;
  return Array.isArray(value) ? arrayText(value.map((each) => encode(each, ''))) : String(value);
}

/** Runs calls on a connection as whoever it belongs to, such as the owner of the database. */
export function onClient(client: pg.ClientBase): Runner {
  return (calls) => pipeline(client, calls);
}

/** Connections on which calls run as API roles. */
export type Callers = { as(caller: Caller): Runner; close(): Promise<void> };

/**
 * Opens connections on which callers run with the rights of an API role, and within its statement timeout, as requests do.
 *
 * @param databaseUrl the owner's connection to the database, which has the schema.
 * @param settings SERVER_DATABASE_URL where it is set.
 * @throws Refusal where plinth_server cannot log in.
 */
export async function openCallers(
  databaseUrl: string,
  { serverDatabaseUrl }: Pick<Settings, 'serverDatabaseUrl'>,
): Promise<Callers> {
  const url = serverDatabaseUrl ?? (await serverUrl(databaseUrl));
  // A connection that is lost fails the call that runs on it, which says so.
  const requests = openRequests(url, { size: 2, log: { warn() {} } });
  try {
    const client = await requests.pool.connect();
    const { statementTimeouts } = await readCatalog(client).finally(() => client.release());
    requests.setTimeouts(statementTimeouts);
  } catch (error) {
    await requests.close();
    throw error;
  }
  return {
    as: (caller) => (calls, options) => requests.run(caller, calls, options),
    close: requests.close,
  };
}
