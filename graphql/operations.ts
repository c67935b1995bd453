import { createHash } from 'node:crypto';
import {
  type DocumentNode,
  type FragmentDefinitionNode,
  GraphQLError,
  type GraphQLSchema,
  getNamedType,
  getOperationAST,
  getVariableValues,
  isEnumType,
  isInputObjectType,
  Kind,
  type NamedTypeNode,
  NoSchemaIntrospectionCustomRule,
  type OperationDefinitionNode,
  parse,
  type SelectionSetNode,
  specifiedRules,
  typeFromAST,
  type VariableValues,
  validate,
  visit,
} from 'graphql';
import type { ApiRole } from '../functions/catalog.ts';
import { type CompiledOperation, compileOperation } from './compile.ts';
import { type Limits, limitError } from './context.ts';
import { openMemory, type Remember } from './remember.ts';

/** An operation that was parsed and validated, with what it compiled to so far. */
export type Operation = {
  document: DocumentNode;
  name: string | undefined;
  /** What its time is counted under: its name, and the beginning of the hash of its document. */
  label: string;
  kind: 'query' | 'mutation' | 'subscription';
  /** Of its document and name. */
  hash: string;
  /** The topics until whose next event its answer to callers without a token is the same; none: it never is. */
  keptUntil: string[];
  /** How often it asks for each of its root fields. */
  fields: Map<string, number>;
  /** The variables of one execution, checked. @throws a list of GraphQLErrors */
  variables(given: Record<string, unknown>): VariableValues;
  /** The SQL for a role and the shape of these variables; compiled once. @throws GraphQLError */
  compiled(role: ApiRole, variables: VariableValues): CompiledOperation;
};

export type DocumentLimits = Limits & { maxQueryBytes: number; maxTokens: number; introspection: boolean };

const mostBytes = 32 * 2 ** 20;
// Measured: what is parsed of a document of single letters, and the reading of a value that stands deep in a filter.
const bytesOfLetter = 64;
const bytesOfRead = 1000;
const comparisonsOfToken = 10;

/** Gives the operation of a document. */
export type Operations = ReturnType<typeof openOperations>;

/**
 * Operations of one schema: each document is parsed, validated and compiled once.
 *
 * @returns a function that gives the operation of a document. It throws a list of GraphQLErrors where the document is not valid. `onNew` is
 *   called, and may throw, before one is read that is not known: that takes up to 20 ms, a thousand times as long as to find one that is.
 */
export function openOperations(schema: GraphQLSchema, limits: DocumentLimits) {
  const opened = openMemory<{ operation: Operation; text: string }>(
    mostBytes,
    ({ text }) => text.length * bytesOfLetter,
  );
  const compiled = openMemory<CompiledOperation>(mostBytes, bytesOfCompiled);
  const rules = limits.introspection ? specifiedRules : [...specifiedRules, NoSchemaIntrospectionCustomRule];
  let number = 0;

  return (text: string, name: string | undefined, onNew?: () => void): Operation =>
    opened(name === undefined ? text : `${name}\n${text}`, () => {
      onNew?.();
      return { operation: open(text, name), text };
    }).operation;

  function open(text: string, name: string | undefined): Operation {
    const document = parseDocument(text, limits);
    limitComparisons(document, limits.maxTokens * comparisonsOfToken);
    const errors = validate(schema, document, rules, { hideSuggestions: !limits.introspection });
    if (errors.length > 0) throw errors;
    const operation = getOperationAST(document, name);
    if (!operation) {
      throw [
        new GraphQLError(name ? `The document has no operation ${name}.` : 'Name the operation to run: operationName.'),
      ];
    }
    number += 1;
    const own = `${number} `;
    const hash = createHash('sha256').update(text).digest('hex');
    const named = operation.name?.value ?? operation.operation;
    const names = { label: `${named.slice(0, 100)} ${hash.slice(0, 8)}`, hash: `${hash} ${named}` };
    return openOperation(schema, document, operation, names, limits, (shape, make) => compiled(own + shape, make));
  }
}

function bytesOfCompiled({ query, mutations }: CompiledOperation): number {
  const done = mutations.flatMap(([, mutation]) => (typeof mutation === 'string' ? [] : [mutation]));
  const all = [query, ...done.flatMap(({ effect, selection, hash }) => [effect, selection, hash?.salt])];
  return all.reduce(
    (sum, each) => sum + (each ? each.statement.text.length * 2 + each.reads.length * bytesOfRead : 0),
    1000,
  );
}

/** @throws a list of one GraphQLError */
function parseDocument(
  text: string,
  { maxQueryBytes, maxTokens }: { maxQueryBytes: number; maxTokens: number },
): DocumentNode {
  if (Buffer.byteLength(text) > maxQueryBytes) {
    throw [limitError(`The document is longer than ${maxQueryBytes} bytes.`)];
  }
  try {
    return parse(text, { maxTokens, noLocation: true });
  } catch (error) {
    throw [error];
  }
}

/**
 * Validation compares each field with all others of one name, its arguments and selections too: 0.3 s for 500 short fields.
 *
 * @throws a list of one GraphQLError
 */
function limitComparisons(document: DocumentNode, most: number): void {
  const counts = new Map<string, number>();
  visit(document, {
    Field({ alias, name, arguments: given, selectionSet }) {
      if (!selectionSet && !given?.length) return;
      const key = alias?.value ?? name.value;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    },
  });
  const comparisons = [...counts.values()].reduce((sum, count) => sum + count * count, 0);
  if (comparisons > most) throw [limitError('The document asks for fields of one name too often.')];
}

function openOperation(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  names: Pick<Operation, 'label' | 'hash'>,
  limits: DocumentLimits,
  remember: Remember<CompiledOperation>,
): Operation {
  const definitions = operation.variableDefinitions ?? [];
  const shapes = shapesOf(schema, document, operation);
  const none: VariableValues = { sources: {}, coerced: {} };
  const fields = rootFields(document, operation);
  return {
    document,
    name: operation.name?.value,
    ...names,
    kind: operation.operation,
    keptUntil: operation.operation === 'query' ? keptUntil(schema, fields) : [],
    fields,
    variables(given) {
      if (definitions.length === 0) return none;
      const { variableValues, errors } = getVariableValues(schema, definitions, given, {
        hideSuggestions: !limits.introspection,
      });
      if (variableValues) return variableValues;
      throw errors.map(
        ({ message, nodes }) => new GraphQLError(message, { nodes, extensions: { code: 'BAD_USER_INPUT' } }),
      );
    },
    compiled(role, variables) {
      const shape = `${role}${shapes.map((shapeOf) => shapeOf(variables.coerced)).join()}`;
      return remember(shape, () => compileOperation({ schema, document, variables, role, limits }, operation));
    },
  };
}

/** The topics of all its fields; none where one of them has none. */
function keptUntil(schema: GraphQLSchema, fields: Map<string, number>): string[] {
  const known = schema.getQueryType()?.getFields() ?? {};
  const topics = [...fields.keys()].map((name) => {
    const plan = known[name]?.extensions.plan;
    return plan?.kind === 'function' ? plan.call.keptUntil : undefined;
  });
  return topics.every((topic) => topic !== undefined) ? [...new Set(topics)] : [];
}

/** Each fragment is counted once and multiplied: written out, some would be longer than the memory. */
function rootFields(document: DocumentNode, operation: OperationDefinitionNode): Map<string, number> {
  const fragments = new Map<string, Map<string, number>>();

  function within({ selections }: SelectionSetNode): Map<string, number> {
    const counts = new Map<string, number>();
    const add = (name: string, times: number) => counts.set(name, (counts.get(name) ?? 0) + times);
    for (const selection of selections) {
      if (selection.kind === Kind.FIELD) add(selection.name.value, 1);
      else {
        const inner =
          selection.kind === Kind.INLINE_FRAGMENT ? within(selection.selectionSet) : ofFragment(selection.name.value);
        for (const [name, times] of inner) add(name, times);
      }
    }
    return counts;
  }

  function ofFragment(name: string): Map<string, number> {
    const known = fragments.get(name);
    if (known) return known;
    const definition = document.definitions.find(
      (each) => each.kind === Kind.FRAGMENT_DEFINITION && each.name.value === name,
    ) as FragmentDefinitionNode | undefined;
    const counts = definition ? within(definition.selectionSet) : new Map<string, number>();
    fragments.set(name, counts);
    return counts;
  }

  return within(operation.selectionSet);
}

/** What the SQL depends on in each variable. Two executions of one shape run the same statement. */
function shapesOf(
  schema: GraphQLSchema,
  document: DocumentNode,
  { variableDefinitions = [] }: OperationDefinitionNode,
) {
  const pageSizes = new Set<string>();
  visit(document, {
    Argument({ name, value }) {
      if (/^(first|last)$/.test(name.value) && value.kind === Kind.VARIABLE) pageSizes.add(value.name.value);
    },
  });
  return variableDefinitions.map(({ variable, type }) => {
    const name = variable.name.value;
    const named = getNamedType(typeFromAST(schema, type as NamedTypeNode));
    return (values: Readonly<Record<string, unknown>>): string =>
      pageSizes.has(name) ? JSON.stringify(values[name]) : shapeOf(values[name], named);
  });
}

/** Which parts of a value are there, which are null, and how many conditions a list has; of enums and booleans the value itself. */
function shapeOf(value: unknown, type: unknown): string {
  if (value === undefined) return '';
  if (value === null || typeof value === 'boolean') return String(value);
  // A list of values is one parameter.
  if (Array.isArray(value))
    return isInputObjectType(type) ? `[${value.map((item) => shapeOf(item, type)).join()}]` : 'v';
  if (!isInputObjectType(type)) return isEnumType(type) ? JSON.stringify(value) : 'v';
  const fields = type.getFields();
  const parts = Object.entries(value).map(
    ([name, inner]) => `${name}:${shapeOf(inner, getNamedType(fields[name]?.type))}`,
  );
  return `{${parts.join()}}`;
}
