import {
  type DocumentNode,
  executeSync,
  type FieldNode,
  type GraphQLSchema,
  Kind,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from 'graphql';
import { type Context, countAlias, fragmentOf, limitError, type Read } from './context.ts';

// The standard query, with all that GraphiQL and Apollo add to it, has about 250 fields, 15 deep. Each is answered for every type,
// field and argument of the schema, in one go that nothing else can interrupt.
const mostFields = 400;
const mostDepth = 20;

/**
 * Counts what is asked of the schema itself, its fragments written out: a few hundred letters can ask for millions of fields.
 *
 * @throws GraphQLError where it goes over a limit.
 */
export function limitIntrospection(context: Context, nodes: FieldNode[]): void {
  let fields = 0;
  for (const { selectionSet } of nodes) walk(selectionSet, 1, false);

  function walk(set: SelectionSetNode | undefined, depth: number, inList: boolean): void {
    if (depth > mostDepth) throw limitError(`The fields below __schema or __type nest deeper than ${mostDepth}.`);
    for (const selection of set?.selections ?? []) {
      fields += 1;
      if (fields > mostFields) throw limitError(`More than ${mostFields} fields are asked of the schema itself.`);
      if (selection.kind !== 'Field') {
        walk(fragmentOf(context, selection)?.selectionSet, depth, inList);
        continue;
      }
      if (selection.alias) countAlias(context);
      // The members of the members of a type are as many as the schema has, squared.
      const isList = /^(fields|inputFields|interfaces|possibleTypes)$/.test(selection.name.value);
      if (isList && inList) throw limitError(`${selection.name.value} is asked of types that are members of others.`);
      walk(selection.selectionSet, depth + 1, inList || isList);
    }
  }
}

/** What is asked of the schema itself under one key: graphql-js answers it, and Postgres puts it beside what it reads. */
export function readSchema(
  schema: GraphQLSchema,
  { definitions }: DocumentNode,
  operation: OperationDefinitionNode,
  key: string,
  selections: FieldNode[],
): Read {
  const fragments = definitions.filter(({ kind }) => kind === Kind.FRAGMENT_DEFINITION);
  const own = { ...operation, selectionSet: { kind: Kind.SELECTION_SET, selections } } as const;
  const document: DocumentNode = { kind: Kind.DOCUMENT, definitions: [own, ...fragments] };
  return ({ sources }) => {
    const given = Object.entries(sources).map(([name, { value }]) => [name, value]);
    const variableValues = Object.fromEntries(given.filter(([, value]) => value !== undefined));
    const { data, errors } = executeSync({ schema, document, variableValues });
    if (errors) throw errors;
    return JSON.stringify(data?.[key]);
  };
}
