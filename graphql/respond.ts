import { GraphQLError, type GraphQLFormattedError } from 'graphql';
import type { Answers } from './answers.ts';
import { tellError } from './errors.ts';
import { type Asked, type Engine, executeOperation } from './execute.ts';
import { type Explanation, explainOperation } from './explain.ts';
import type { Gate } from './gate.ts';
import type { Operation } from './operations.ts';

/** The parameters of a GraphQL request, as its body or URL carries them. */
export type Params = {
  query?: unknown;
  operationName?: unknown;
  variables?: unknown;
  extensions?: unknown;
  documentId?: unknown;
};

/** A request that can be answered: its parameters are of the right types. */
export type GoodParams = {
  query: string;
  operationName?: string;
  variables: Record<string, unknown>;
  /** Asked for with `extensions: {explain: true}`; operators get the SQL and the plan beside the answer. */
  explain: boolean;
};

/** Whether parameters are of the types that the specification gives them. What is not is left to Yoga to explain. */
export function goodParams({ query, operationName, variables, extensions }: Params): GoodParams | undefined {
  const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null && !Array.isArray(value);
  if (typeof query !== 'string') return;
  if (variables !== undefined && variables !== null && !isObject(variables)) return;
  if (extensions !== undefined && extensions !== null && !isObject(extensions)) return;
  if (operationName !== undefined && operationName !== null && typeof operationName !== 'string') return;
  return {
    query,
    ...(typeof operationName === 'string' && { operationName }),
    variables: (variables ?? {}) as Record<string, unknown>,
    explain: (extensions as { explain?: unknown } | null | undefined)?.explain === true,
  };
}

/** What a request comes to. `executed` is false where it was refused before anything ran. */
export type Outcome = {
  executed: boolean;
  data: string | null;
  errors?: GraphQLFormattedError[];
  rows: number;
  explanation?: Explanation[];
  operation?: Operation;
  /** What its answer over HTTP has beside the body. */
  http?: { status?: number; headers: Record<string, string> };
};

/** Answers a request: finds or makes its operation, and executes it. Never throws. */
export async function respond(
  engine: Engine,
  operations: (text: string, name: string | undefined) => Operation,
  { query, operationName, variables, explain }: GoodParams,
  asked: Asked,
  { readOnly, gate, answers }: { readOnly: boolean; gate: Gate; answers: Answers },
): Promise<Outcome> {
  let operation: Operation | undefined;
  try {
    const arrived = gate.arrive(asked);
    operation = operations(query, operationName);
    if (readOnly && operation.kind !== 'query') {
      throw new GraphQLError('A GET request only reads: send a mutation by POST.', {
        extensions: { code: 'BAD_REQUEST', http: { status: 405, headers: { allow: 'POST' } } },
      });
    }
    const headers = { ...arrived, ...gate.admit(asked, operation) };
    const found = operation;
    const answer = await answers.recall(found, variables, asked, (by) =>
      executeOperation(engine, found, variables, by),
    );
    if (answer.errors?.[0]?.extensions?.code === 'MAINTENANCE') {
      // The database knew of it first.
      await gate.changed();
      gate.admit(asked, operation);
    }
    const done = { executed: true, operation, ...answer, http: { headers } };
    if (!explain || asked.caller.role !== 'operator' || answer.errors) return done;
    return { ...done, explanation: await explainOperation(engine, operation, variables, asked) };
  } catch (thrown) {
    const list = Array.isArray(thrown) ? thrown : [thrown];
    const told = list.map((error: unknown) => tellError(error, engine.errorCodes, asked.id, engine.unforeseen));
    const { http } = (told[0]?.extensions ?? {}) as { http?: NonNullable<Outcome['http']> };
    const errors = told.map(withoutHttp);
    return { executed: false, data: null, errors, rows: 0, ...(operation && { operation }), ...(http && { http }) };
  }
}

/** How an error is sent over HTTP is not for clients to read. */
export function withoutHttp({ extensions, ...error }: GraphQLFormattedError): GraphQLFormattedError {
  const { http: _, ...rest } = extensions ?? {};
  return { ...error, extensions: rest };
}

/** The body of an answer. `data` is the text that Postgres wrote; it is not parsed on its way. */
export function bodyOf({ executed, data, errors, explanation }: Outcome): string {
  const parts = [...(errors ? [`"errors":${JSON.stringify(errors)}`] : []), ...(executed ? [`"data":${data}`] : [])];
  if (explanation) parts.push(`"extensions":${JSON.stringify({ explanation })}`);
  return `{${parts.join(',')}}`;
}
