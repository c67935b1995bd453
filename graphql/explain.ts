import { type Asked, callOf, type Engine } from './execute.ts';
import type { Operation } from './operations.ts';

/** What an operator is told of how an operation runs. */
export type Explanation = { sql: string; plan?: unknown };

/**
 * The SQL of an operation, and Postgres's plan for its query with these variables, under the caller's own rights.
 *
 * @throws GraphQLError where the variables do not fit; PipelineError where Postgres refuses the plan.
 */
export async function explainOperation(
  engine: Engine,
  operation: Operation,
  variables: Record<string, unknown>,
  asked: Asked,
): Promise<Explanation[]> {
  const values = operation.variables(variables);
  const { query, mutations } = operation.compiled(asked.caller.role, values);
  if (!query) {
    return mutations.flatMap(([, mutation]) =>
      typeof mutation === 'string'
        ? []
        : [{ sql: mutation.effect.statement.text }, { sql: mutation.selection.statement.text }],
    );
  }
  const { text } = query.statement;
  const call = { ...callOf(query, values), statement: { name: '', text: `explain (format json) ${text}` } };
  const [rows] = await engine.requests.run(asked.caller, [call], { readOnly: true, signal: asked.signal });
  return [{ sql: text, plan: JSON.parse(rows?.[0]?.[0] ?? 'null') }];
}
