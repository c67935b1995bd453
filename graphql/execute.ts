import { GraphQLError, type GraphQLFormattedError, type GraphQLSchema, type VariableValues } from 'graphql';
import type { ErrorCode } from '../functions/catalog.ts';
import type { Gathering } from '../functions/gathering.ts';
import type { LoggedEvent } from '../functions/log-reader.ts';
import { hashPassword } from '../functions/passwords.ts';
import { type Caller, type Requests, refusedError } from '../functions/requests.ts';
import type { Span } from '../functions/span.ts';
import type { Claims } from '../functions/tokens.ts';
import type { Compiled, CompiledMutation, CompiledOperation } from './compile.ts';
import { tellError, type Unforeseen } from './errors.ts';
import type { Operation, Operations } from './operations.ts';

/** Sends a text or mail; see workers/outbox.ts. */
export type Deliver = (delivery: { channel: 'sms' | 'mail'; to: string; text: string }) => Promise<void>;

/** Where bytes may be put: a name in the storage, and the path of ours that takes them where the storage does not. */
type Put = { put: string; bytes: number; seconds: number; path: string };

/** What executing stands on. */
export type Engine = {
  /** What compiled statements hold back: the answer that is larger. */
  maxAnswerBytes: number;
  schema: GraphQLSchema;
  /** The operation of a document. @throws GraphQLErrors, one or a list */
  operations: Operations;
  errorCodes: ErrorCode[];
  requests: Requests;
  /** Completes what SQL leaves to the server: claims to a token, a name in the storage to an address to put bytes to. */
  sign(value: Claims | Put): Promise<string>;
  deliver: Deliver;
  /** Encrypts what Postgres must not see: JSON to JSON. @throws with a SQLSTATE where it cannot. */
  seal(json: string): Promise<string>;
  unforeseen: Unforeseen;
  /** Tells those who listen now; see events.signal. */
  signal(signals: LoggedEvent[]): void;
  /** Keeps a call for the next statement of its kind. */
  gather: Gathering['gather'];
};

/** A request of one caller. */
export type Asked = { caller: Caller; id: string; signal: AbortSignal; span?: Span | undefined };

/** An answer: `data` is the JSON text that Postgres wrote, null where it wrote none. */
export type Answer = { data: string | null; errors?: GraphQLFormattedError[]; rows: number };

/**
 * Executes an operation.
 *
 * @param variables as the client gave them.
 * @throws GraphQLErrors, one or a list, where they do not fit the operation or it goes over a limit: nothing was run.
 */
export async function executeOperation(
  engine: Engine,
  operation: Operation,
  variables: Record<string, unknown>,
  asked: Asked,
): Promise<Answer> {
  if (!asked.span) return execute(engine, operation, variables, asked);
  const { kind, name = '' } = operation;
  const attributes = { 'graphql.operation.type': kind, 'graphql.operation.name': name };
  const span = asked.span.child(`${kind} ${name}`.trimEnd(), attributes);
  try {
    const answer = await execute(engine, operation, variables, { ...asked, span });
    span.end(answer.errors?.[0]);
    return answer;
  } catch (error) {
    span.end(error);
    throw error;
  }
}

async function execute(
  engine: Engine,
  operation: Operation,
  variables: Record<string, unknown>,
  asked: Asked,
): Promise<Answer> {
  const values = operation.variables(variables);
  const compiled = operation.compiled(asked.caller.role, values);
  if (compiled.subscription) {
    const message = 'Subscribe over WebSocket (graphql-transport-ws), or with the header "Accept: text/event-stream".';
    throw new GraphQLError(message, { extensions: { code: 'BAD_REQUEST' } });
  }
  return compiled.query
    ? executeQuery(engine, operation, compiled.query, values, asked)
    : executeMutations(engine, operation, compiled.mutations, values, asked);
}

async function executeQuery(
  engine: Engine,
  operation: Operation,
  query: Compiled,
  values: VariableValues,
  asked: Asked,
): Promise<Answer> {
  const call = callOf(query, values);
  try {
    const [rows] = await engine.requests.run(asked.caller, [call], optionsOf(operation, asked, true, true));
    const [data = null, count] = rows?.[0] ?? [];
    if (data === null) throw tooLarge(engine, 'Ask for less at once: smaller pages, fewer fields.');
    return { data: await signed(engine, data, query), rows: Number(count) };
  } catch (error) {
    return { data: null, errors: [tell(engine, error, asked)], rows: 0 };
  }
}

/** The fields of a mutation one after another, each a transaction of its own: what one of them fails at undoes no other. */
async function executeMutations(
  engine: Engine,
  operation: Operation,
  mutations: CompiledOperation['mutations'],
  values: VariableValues,
  asked: Asked,
): Promise<Answer> {
  const errors: GraphQLFormattedError[] = [];
  const members: string[] = [];
  let rows = 0;
  for (const [key, mutation] of mutations) {
    let data: string | null = null;
    try {
      if (typeof mutation === 'string') data = JSON.stringify(mutation);
      else {
        const done = await executeMutation(engine, operation, mutation, values, asked);
        data = done.data;
        rows += done.rows;
      }
    } catch (error) {
      errors.push({ ...tell(engine, error, asked), path: [key] });
    }
    members.push(`${JSON.stringify(key)}:${data}`);
  }
  return { data: `{${members.join(',')}}`, ...(errors.length > 0 && { errors }), rows };
}

async function executeMutation(
  engine: Engine,
  operation: Operation,
  mutation: CompiledMutation,
  values: VariableValues,
  asked: Asked,
): Promise<{ data: string | null; rows: number }> {
  if (mutation.gathered) return { data: gather(engine, mutation.gathered, values, asked), rows: 0 };
  const effect = await effectOf(engine, operation, mutation, values, asked);
  const selection = callOf(mutation.selection, values);
  // A selection that may fail runs before the function as well, on nothing: what it has no right to, or a value that does not fit,
  // is told then, and cannot undo what the function was to keep (a counted try), which would make counting worthless.
  const calls = mutation.mayFail ? [selection, effect, selection] : [effect, selection];
  // What an operator does as a user is noted by its name.
  const caller = { ...asked.caller, claims: { ...asked.caller.claims, mutation: mutation.name } };
  const results = await engine.requests.run(caller, calls, optionsOf(operation, asked, false));

  // Committed. What the function refused is told now; what it left to the server is done now.
  const [data = null, rows, refused, deliveries, signals] = results.at(-1)?.[0] ?? [];
  if (refused) throw refusedError(refused);
  if (signals) engine.signal(JSON.parse(signals));
  for (const delivery of JSON.parse(deliveries ?? '[]')) {
    if (delivery) await engine.deliver(delivery);
  }
  if (data === null) throw tooLarge(engine, 'What was asked for is done; read its result by a query.');
  return { data: await signed(engine, data, mutation.selection), rows: Number(rows) };
}

/** Whether the session still holds is asked by the function that takes the calls. */
function gather(
  engine: Engine,
  { by, input, answer }: NonNullable<CompiledMutation['gathered']>,
  values: VariableValues,
  { caller }: Asked,
): string {
  const { sub: user, sid: session } = caller.claims;
  if (!user || !session) throw Object.assign(new Error('Sign in first.'), { code: 'PT401' });
  engine.gather(by, { user, session, input: Object.fromEntries(input.map(([name, read]) => [name, read(values)])) });
  return answer;
}

function tooLarge({ maxAnswerBytes }: Engine, hint: string): GraphQLError {
  return new GraphQLError(`The answer is larger than ${maxAnswerBytes} bytes.`, {
    extensions: { code: 'LIMIT_EXCEEDED', hint },
  });
}

function optionsOf({ label }: Operation, { signal, span }: Asked, readOnly: boolean, mayLag = false) {
  return { readOnly, mayLag, signal, span, operation: label };
}

/** A compiled statement with its values. */
export function callOf({ statement, reads }: Compiled, values: VariableValues) {
  return { statement, values: reads.map((read) => read(values)) };
}

/** The call of what a mutation does, its password hashed and its secrets sealed: no log of Postgres ever holds either. */
async function effectOf(
  engine: Engine,
  operation: Operation,
  { effect, hash, seals }: CompiledMutation,
  values: VariableValues,
  asked: Asked,
) {
  const call = callOf(effect, values);
  for (const index of seals) {
    const value = call.values[index];
    if (typeof value === 'string') call.values[index] = await engine.seal(value);
  }
  if (!hash) return call;
  let like: string | undefined;
  if (hash.salt) {
    const salt = callOf(hash.salt, values);
    // Part of a mutation, and let in as one.
    const [rows] = await engine.requests.run(asked.caller, [salt], optionsOf(operation, asked, false));
    like = rows?.[0]?.[0] ?? undefined;
  }
  call.values[hash.index] = await hashPassword(call.values[hash.index] as string, like);
  return call;
}

/** Puts what the server has completed where SQL left it. */
async function signed({ sign }: Engine, data: string | null, { signs }: Compiled): Promise<string | null> {
  if (signs.length === 0 || data === null) return data;
  let answer = JSON.parse(data);
  for (const path of signs) answer = await signAt(answer, path);
  return JSON.stringify(answer);

  async function signAt(value: unknown, [key, ...rest]: string[]): Promise<unknown> {
    if (value === null || value === undefined) return value;
    if (Array.isArray(value))
      return Promise.all(value.map((each) => signAt(each, key === undefined ? [] : [key, ...rest])));
    if (key === undefined) return sign(value as Claims | Put);
    const holder = value as Record<string, unknown>;
    return Object.assign(holder, { [key]: await signAt(holder[key], rest) });
  }
}

function tell(engine: Engine, error: unknown, { id, signal }: Asked): GraphQLFormattedError {
  if (signal.aborted) return new GraphQLError('The client went away.', { extensions: { code: 'CANCELLED' } }).toJSON();
  return tellError(error, engine, id);
}
