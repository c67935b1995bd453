import {
  coerceInputLiteral,
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type FragmentSpreadNode,
  type GraphQLArgument,
  GraphQLError,
  type GraphQLField,
  GraphQLIncludeDirective,
  type GraphQLObjectType,
  type GraphQLSchema,
  GraphQLSkipDirective,
  getDirectiveValues,
  type InlineFragmentNode,
  isNonNullType,
  Kind,
  type SelectionNode,
  type SelectionSetNode,
  type ValueNode,
  type VariableValues,
} from 'graphql';
import type { ApiRole } from '../functions/catalog.ts';
import type { Codec } from './plan.ts';

/** The limits of one operation. */
export type Limits = {
  maxDepth: number;
  maxAliases: number;
  maxCost: number;
  maxPage: number;
  maxAnswerBytes: number;
};

/** An operation with the variables of its first execution: what depends on them is compiled in, the rest is bound. */
export type Request = {
  schema: GraphQLSchema;
  document: DocumentNode;
  variables: VariableValues;
  role: ApiRole;
  limits: Limits;
};

/**
 * Gives the text of a parameter from the variables of an execution; null is SQL's null. It outlives the execution that it was compiled
 * for, so it is made by a function that knows where a value stands and nothing of that execution: neither its variables nor its context.
 */
export type Read = (variables: VariableValues) => string | null;

/** The state of compiling one statement. */
export type Context = Request & {
  reads: Read[];
  fragments: Map<string, FragmentDefinitionNode>;
  /** Counted over the whole operation. */
  counts: { aliases: number; cost: number; names: number; conditions: number; personal: number };
  /** Where in the answer values stand that the server has to sign. */
  signs: string[][];
  /** Which parameters the server has to encrypt. */
  seals: number[];
  /** Adds a parameter; the result is its `$n`. */
  bind(read: Read): string;
};

/** The state for a statement of its own; `counted` is one before it in the same operation. */
export function enter(request: Request, counted?: Context): Context {
  const reads: Read[] = [];
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of request.document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
  }
  return {
    ...request,
    reads,
    fragments,
    counts: counted?.counts ?? { aliases: 0, cost: 0, names: 0, conditions: 0, personal: 0 },
    signs: [],
    seals: [],
    bind(read) {
      reads.push(read);
      return `$${reads.length}`;
    },
  };
}

export function limitError(message: string): GraphQLError {
  return new GraphQLError(message, { extensions: { code: 'LIMIT_EXCEEDED' } });
}

/** Counts rows that an operation may make Postgres read. */
export function spend(context: Context, rows: number): void {
  context.counts.cost += rows;
  if (context.counts.cost > context.limits.maxCost) {
    throw limitError(`The operation may read more than ${context.limits.maxCost} rows; ask for smaller pages.`);
  }
}

/** The fields that selection sets ask of an object type, by the key of each in the answer. */
export function collectFields(
  context: Context,
  type: GraphQLObjectType,
  selectionSets: SelectionSetNode[],
  fields = new Map<string, FieldNode[]>(),
  visited = new Set<unknown>(),
): Map<string, FieldNode[]> {
  for (const selection of selectionSets.flatMap((set) => set.selections)) {
    if (!isIncluded(context, selection)) continue;
    if (selection.kind === Kind.FIELD) {
      if (selection.alias) countAlias(context);
      const key = selection.alias?.value ?? selection.name.value;
      fields.set(key, [...(fields.get(key) ?? []), selection]);
    } else {
      const fragment = fragmentOf(context, selection);
      // Once is enough: a chain of fragments that each name the next one twice would take for ever.
      if (!fragment || visited.has(fragment)) continue;
      visited.add(fragment);
      collectFields(context, type, [fragment.selectionSet], fields, visited);
    }
  }
  return fields;
}

/** What a spread stands for. */
export function fragmentOf(context: Context, spread: FragmentSpreadNode | InlineFragmentNode) {
  return spread.kind === Kind.FRAGMENT_SPREAD ? context.fragments.get(spread.name.value) : spread;
}

export function countAlias(context: Context): void {
  context.counts.aliases += 1;
  if (context.counts.aliases > context.limits.maxAliases) {
    throw limitError(`The operation has more than ${context.limits.maxAliases} aliases.`);
  }
}

function isIncluded({ variables }: Context, selection: SelectionNode): boolean {
  return (
    getDirectiveValues(GraphQLSkipDirective, selection, variables)?.if !== true &&
    getDirectiveValues(GraphQLIncludeDirective, selection, variables)?.if !== false
  );
}

type ReadInput = (variables: VariableValues) => unknown;

/** A value that a client gives: what it is now, and how to read it in a later execution of the same shape. */
export type Input = {
  now: unknown;
  read: ReadInput;
  field(name: string): Input | undefined;
  /** The items of a list. */
  items(): Input[];
};

/** The argument of a field; undefined where it is not given. */
export function input(
  context: Context,
  field: GraphQLField<unknown, unknown>,
  node: FieldNode,
  name: string,
): Input | undefined {
  const value = node.arguments?.find((each) => each.name.value === name)?.value;
  const argument = field.args.find((each) => each.name === name);
  if (!value || !argument) return;
  if (value.kind === Kind.VARIABLE && !(value.name.value in context.variables.coerced)) return;
  const read = readValue(value, argument);
  return asInput(read(context.variables), read);
}

function readValue(value: ValueNode, { name, type }: GraphQLArgument): ReadInput {
  if (!hasVariables(value)) return readConstant(coerceInputLiteral(value, type));
  return (variables) => {
    const given =
      value.kind === Kind.VARIABLE ? variables.coerced[value.name.value] : coerceInputLiteral(value, type, variables);
    // A variable with a default may stand where null may not, and be given as null all the same.
    if (given === undefined || (given === null && isNonNullType(type))) {
      throw new GraphQLError(`Null was given for ${name}, or for a part of it that cannot be null.`, {
        extensions: { code: 'BAD_USER_INPUT', argument: name },
      });
    }
    return given;
  };
}

function readConstant(constant: unknown): ReadInput {
  return () => constant;
}

function hasVariables(node: ValueNode): boolean {
  if (node.kind === Kind.VARIABLE) return true;
  if (node.kind === Kind.LIST) return node.values.some(hasVariables);
  return node.kind === Kind.OBJECT && node.fields.some((field) => hasVariables(field.value));
}

function asInput(now: unknown, read: ReadInput): Input {
  return {
    now,
    read,
    field(name) {
      const value = partOf(now, name);
      return value === undefined ? undefined : asInput(value, readPart(read, name));
    },
    items() {
      // One value stands for a list of one.
      if (!Array.isArray(now)) return [asInput(now, read)];
      return now.map((item, index) => asInput(item, readPart(read, index)));
    },
  };
}

function partOf(value: unknown, key: string | number): unknown {
  return (value as Record<string | number, unknown> | undefined)?.[key];
}

function readPart(read: ReadInput, key: string | number): ReadInput {
  return (variables) => partOf(read(variables), key);
}

/** The parameter that an input is; what is not given is null. */
export function readText(read: ReadInput | undefined, { encode }: Codec): Read {
  return (variables) => {
    const value = read?.(variables);
    return value === null || value === undefined ? null : encode(value);
  };
}
