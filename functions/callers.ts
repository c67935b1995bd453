import type pg from 'pg';
import { z } from 'zod';
import { readCatalog } from './catalog.ts';
import { columnOf, type Kind, type Place, sideOf, type ValueOf } from './kinds.ts';
import { type Call, type Prepared, pipeline, prepare, type Rows } from './pipeline.ts';
import { openRequests, type Requests, refusedError, type Caller as Someone } from './requests.ts';
import { serverUrl } from './server-role.ts';
import type { Settings } from './settings.ts';

// What functions/generated/ stands on: `await sendMessage(as(caller), { channelId, text })`.

/** Runs the statements of a call in one transaction, as someone. */
export type Runner = (calls: Call[], options: { readOnly: boolean }) => Promise<Rows[]>;

/** The input may be left out where nothing in it must be given. */
type Optional<Input> = Record<never, never> extends Input ? [input?: Input] : [input: Input];

type Arguments = Record<string, Kind>;
type Given<Args extends Arguments> = z.input<z.ZodObject<{ [Name in keyof Args]: Args[Name]['in'] }>>;

/**
 * A caller checks its input, runs the call, and checks what comes back. It throws a ZodError for either, and for what Postgres or
 * the function refuses an Error whose `code` is the SQLSTATE.
 */
type Caller<Args extends Arguments, Result> = (run: Runner, ...input: Optional<Given<Args>>) => Promise<Result>;

/** Makes typed callers of functions in the database, by their quoted names; without a result they return nothing. */
function callerOf(volatile: boolean) {
  return <const Args extends Arguments, Result extends Kind = Kind<z.ZodVoid>>(
    sql: string,
    args: Args,
    result?: Result,
  ): Caller<Args, ValueOf<Result>> => {
    const input = z.strictObject(sideOf(args, 'in'));
    // What is left out is not named, so that its default counts: each choice of arguments is a statement.
    const statements = new Map<string, Prepared>();
    return async (run, ...[asked]) => {
      const given: Record<string, unknown> = input.parse(asked ?? {});
      const values: (string | null)[] = [];
      const place: Place = (value) => `$${values.push(value)}`;
      const list = Object.entries(args)
        .filter(([name]) => given[name] !== undefined)
        .map(([name, kind]) => `${columnOf(name, kind)} => ${kind.take(given[name], place)}`);
      const call = `${sql}(${list.join(', ')})`;
      const text = result
        ? `select to_json(${result.give('r')})::text from ${call} as r where not (r is null)`
        : `select null from ${call}`;
      const statement = statements.get(text) ?? prepare(text);
      statements.set(text, statement);
      const calls = [{ statement, values }, ...(volatile ? [{ statement: refusal, values: [] }] : [])];
      const [rows = [], [refused] = []] = await run(calls, { readOnly: !volatile });
      if (refused?.[0]) throw refusedError(refused[0]);
      const results = rows.map(([row]) => JSON.parse(row ?? 'null'));
      return result?.out.parse(result.set ? results : (results[0] ?? null)) as ValueOf<Result>;
    };
  };
}

/** Of a function that may write. */
export const mutation = callerOf(true);
/** Of a function that only reads. */
export const query = callerOf(false);

// Some functions keep what they wrote and refuse all the same (public.refuse in schema.sql).
const refusal = prepare("select nullif(current_setting('plinth.refused', true), '')");

/** Runs calls on a connection as whoever it belongs to, such as the owner of the database. */
export function onClient(client: pg.ClientBase): Runner {
  return (calls) => pipeline(client, calls);
}

/** Runs calls of the server itself, as the role service; `operation` is what their time is counted under. */
export function asService(requests: Requests, operation: string, signal?: AbortSignal): Runner {
  return (calls, { readOnly }) =>
    requests.run({ role: 'service', claims: {} }, calls, { readOnly, operation, ...(signal && { signal }) });
}

/** Connections on which calls run as API roles. */
export type Callers = { as(caller: Someone): Runner; close(): Promise<void> };

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
  return { as: (caller) => (calls, options) => requests.run(caller, calls, options), close: requests.close };
}
