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

/** How deep variables may nest. */
export const deepest = 100;

/** Values of JSON a hundred thousand deep fit into a body; what reads them further on does it by recursion. */
export function nestTooDeep(value: unknown, most = deepest): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return most === 0 || Object.values(value).some((inner) => nestTooDeep(inner, most - 1));
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
  { query, operationName, variables, explain }: GoodParams,
  asked: Asked,
  { readOnly, gate, answers }: { readOnly: boolean; gate: Gate; answers: Answers },
): Promise<Outcome> {
  let operation: Operation | undefined;
  try {
    const arrived = gate.arrive(asked);
    let read = {};
    operation = engine.operations(query, operationName, () => {
      read = gate.read(asked.caller);
    });
    if (readOnly && operation.kind !== 'query') {
      throw new GraphQLError('A GET request only reads: send a mutation by POST.', {
        extensions: { code: 'BAD_REQUEST', http: { status: 405, headers: { allow: 'POST' } } },
      });
    }
    const headers = { ...arrived, ...read, ...gate.admit(asked, operation) };
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
    const told = list.map((error: unknown) => tellError(error, engine, asked.id));
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
