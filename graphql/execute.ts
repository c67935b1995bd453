import { execute, GraphQLError, type GraphQLFormattedError, type GraphQLSchema, type VariableValues } from 'graphql';
import type { ErrorCode } from '../functions/catalog.ts';
import { hashPassword } from '../functions/passwords.ts';
import type { PipelineError } from '../functions/pipeline.ts';
import type { Caller, Requests } from '../functions/requests.ts';
import type { Claims } from '../functions/tokens.ts';
import type { Compiled, CompiledMutation, CompiledOperation } from './compile.ts';
import { tellError, type Unforeseen } from './errors.ts';
import type { Operation } from './operations.ts';

/** Sends a text or mail; see workers/outbox.ts. */
export type Deliver = (delivery: { channel: 'sms' | 'mail'; to: string; text: string }) => Promise<void>;

/** What executing stands on. */
export type Engine = {
  schema: GraphQLSchema;
  errorCodes: ErrorCode[];
  requests: Requests;
  sign(claims: Claims): Promise<string>;
  deliver: Deliver;
  unforeseen: Unforeseen;
};

/** A request of one caller. */
export type Asked = { caller: Caller; id: string; signal: AbortSignal };

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
  const values = operation.variables(variables);
  const compiled = operation.compiled(asked.caller.role, values);
  const { query, introspects } = compiled;
  if (!query) return executeMutations(engine, compiled, values, asked);
  const answer = await executeQuery(engine, query, values, asked);
  return introspects ? introspect(engine, operation, variables, answer) : answer;
}

async function executeQuery(engine: Engine, query: Compiled, values: VariableValues, asked: Asked): Promise<Answer> {
  const call = callOf(query, values);
  try {
    const [rows] = await engine.requests.run(asked.caller, [call], { readOnly: true, signal: asked.signal });
    const [data = null, count] = rows?.[0] ?? [];
    return { data, rows: Number(count) };
  } catch (error) {
    return { data: null, errors: [tell(engine, error, asked)], rows: 0 };
  }
}

/** What is asked of the schema itself, graphql-js answers; what stands beside it is read from the answer of Postgres. */
async function introspect(
  { schema }: Engine,
  operation: Operation,
  variableValues: Record<string, unknown>,
  { data, rows, errors: failed }: Answer,
): Promise<Answer> {
  if (failed) return { data, rows, errors: failed };
  const result = await execute({
    schema,
    document: operation.document,
    operationName: operation.name ?? null,
    variableValues,
    rootValue: JSON.parse(data ?? '{}'),
    fieldResolver: (source, _arguments, _context, { path }) => (source as Record<string, unknown>)[path.key],
  });
  return {
    data: result.data ? JSON.stringify(result.data) : null,
    ...(result.errors && { errors: result.errors.map((error) => error.toJSON()) }),
    rows,
  };
}

async function executeMutations(
  engine: Engine,
  { mutations, typenames }: CompiledOperation,
  values: VariableValues,
  asked: Asked,
): Promise<Answer> {
  let results: (string | null)[][][];
  try {
    const calls = [];
    for (const mutation of mutations) {
      calls.push(await effectOf(engine, mutation, values, asked), callOf(mutation.selection, values));
    }
    results = await engine.requests.run(asked.caller, calls, { readOnly: false, signal: asked.signal });
  } catch (error) {
    const at = (error as PipelineError).at ?? -1;
    const key = mutations[Math.floor(Math.max(at, 0) / 2)]?.key;
    const told = tell(engine, error, asked);
    return { data: null, errors: [at >= 0 && key ? { ...told, path: [key] } : told], rows: 0 };
  }

  // Committed. What a function refused is told here; what it left to the server is done here.
  const errors: GraphQLFormattedError[] = [];
  const members = typenames.map((key) => `${JSON.stringify(key)}:"Mutation"`);
  let total = 0;
  for (const [index, { key, signs }] of mutations.entries()) {
    const [data = null, count, refused, deliveries] = results[index * 2 + 1]?.[0] ?? [];
    total += Number(count);
    try {
      if (refused) throw refusedError(JSON.parse(refused));
      for (const delivery of JSON.parse(deliveries ?? '[]')) {
        if (delivery) await engine.deliver(delivery);
      }
      members.push(`${JSON.stringify(key)}:${signs.length > 0 ? await signed(engine, data, key, signs) : data}`);
    } catch (error) {
      errors.push({ ...tell(engine, error, asked), path: [key] });
      members.push(`${JSON.stringify(key)}:null`);
    }
  }
  return { data: `{${members.join(',')}}`, ...(errors.length > 0 && { errors }), rows: total };
}

function refusedError({ sqlstate, message }: { sqlstate: string; message: string }): Error {
  return Object.assign(new Error(message), { code: sqlstate });
}

/** A compiled statement with its values. */
export function callOf({ statement, reads }: Compiled, values: VariableValues) {
  return { statement, values: reads.map((read) => read(values)) };
}

/** The call of what a mutation does, its password hashed: Postgres compares hashes, and no log of it ever holds a password. */
async function effectOf(engine: Engine, { effect, hash }: CompiledMutation, values: VariableValues, asked: Asked) {
  const call = callOf(effect, values);
  if (!hash) return call;
  let like: string | undefined;
  if (hash.salt) {
    const [rows] = await engine.requests.run(asked.caller, [callOf(hash.salt, values)], {
      readOnly: true,
      signal: asked.signal,
    });
    like = rows?.[0]?.[0] ?? undefined;
  }
  call.values[hash.index] = await hashPassword(call.values[hash.index] as string, like);
  return call;
}

/** Puts signed tokens where the claims stand. */
async function signed({ sign }: Engine, data: string | null, key: string, paths: string[][]): Promise<string> {
  const answer = { [key]: JSON.parse(data ?? 'null') };
  for (const path of paths) {
    const last = path.at(-1) as string;
    let holder: Record<string, unknown> | null | undefined = answer;
    for (const step of path.slice(0, -1)) holder = holder?.[step] as Record<string, unknown> | null;
    if (holder?.[last]) holder[last] = await sign(holder[last] as Claims);
  }
  return JSON.stringify(answer[key]);
}

function tell(engine: Engine, error: unknown, { id, signal }: Asked): GraphQLFormattedError {
  if (signal.aborted) return new GraphQLError('The client went away.', { extensions: { code: 'CANCELLED' } }).toJSON();
  return tellError(error, engine.errorCodes, id, engine.unforeseen);
}
