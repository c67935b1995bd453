import {
  type GraphQLField,
  type GraphQLInputObjectType,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLSchema,
  getNamedType,
  isInputObjectType,
  isLeafType,
} from 'graphql';
import type { World } from '../world.ts';

// Ways to ask, made from the schema itself, and what is answered to each. Many are asked in one request, for a request costs more
// than most of them.

/** A field of the query, its arguments with their types, and what is asked of it. */
export type Probe = { name: string; given: Record<string, { type: string; value: unknown }>; body: string };

export type Refused = Set<string>;

function document(probes: Probe[]): { query: string; variables: object } {
  const declared: string[] = [];
  const variables: Record<string, unknown> = {};
  const fields = probes.map(({ name, given, body }, index) => {
    const list = Object.entries(given).map(([argument, { type, value }]) => {
      declared.push(`$${argument}${index}: ${type}`);
      variables[`${argument}${index}`] = value;
      return `${argument}: $${argument}${index}`;
    });
    return `a${index}: ${name}${list.length > 0 ? `(${list.join(', ')})` : ''} ${body}`;
  });
  return { query: `query ${declared.length > 0 ? `(${declared.join(', ')})` : ''} { ${fields.join(' ')} }`, variables };
}

/**
 * The answer to each, as JSON. A query is one statement, and fails whole: what is asked for together is asked for alone when it did.
 *
 * @param together how many of one field are asked for in a request.
 */
export async function answersTo(
  ask: World['ask'],
  probes: Probe[],
  token: string | undefined,
  together = 16,
): Promise<string[]> {
  const answers: string[] = [];
  const groups: [from: number, group: Probe[]][] = [];
  probes.forEach((probe, index) => {
    const [, last] = groups.at(-1) ?? [];
    if (last?.[0]?.name === probe.name && last.length < together) last.push(probe);
    else groups.push([index, [probe]]);
  });
  const one = async (from: number, group: Probe[]): Promise<void> => {
    const { query, variables } = document(group);
    const { data, errors } = await ask(query, variables, token);
    for (const [index, probe] of group.entries()) {
      if (!errors) answers[from + index] = JSON.stringify(data[`a${index}`]);
      else if (group.length === 1) answers[from] = JSON.stringify({ errors });
      else await one(from + index, [probe]);
    }
  };
  const waiting = groups.values();
  const next = async (): Promise<void> => {
    for (const [from, group] of waiting) await one(from, group);
  };
  await Promise.all([next(), next(), next()]);
  return answers;
}

/** Whether an answer is of no row at all. What leads on from nothing is nothing. */
export const isNothing = (answer: string) => /^(null|\[\]|\{"errors".*|.*"(nodes|edges)":\[\].*)$/.test(answer);

type Field = GraphQLField<unknown, unknown>;

const fieldsOf = (type: GraphQLOutputType): Field[] =>
  Object.values((getNamedType(type) as GraphQLObjectType).getFields()).filter(
    (field) => !field.args.some((each) => String(each.type).endsWith('!')),
  );

export const isRelation = ({ type, name }: Field) =>
  !isLeafType(getNamedType(type)) && !['nodes', 'edges', 'pageInfo'].includes(name);

/** The type of the rows of a field: of a connection, of its nodes. */
export function rowType({ type }: Field): GraphQLObjectType {
  const named = getNamedType(type) as GraphQLObjectType;
  return (named.getFields().nodes ? getNamedType(named.getFields().nodes?.type) : named) as GraphQLObjectType;
}

/** A selection of the rows of a field, in its page where it has pages. */
export const ofRows = ({ type }: Field, selection: string) =>
  getNamedType(type).name.endsWith('Connection')
    ? `{ totalCount pageInfo { hasNextPage endCursor } edges { cursor } nodes ${selection} }`
    : selection;

/** Every scalar of a type, and what it leads to, down to a depth; but for what is refused. */
export function everything(type: GraphQLOutputType, depth: number, refused: Refused): string {
  const { name } = getNamedType(type);
  const fields = fieldsOf(type)
    .filter((field) => !refused.has(`${name}.${field.name}`))
    .map((field) => {
      if (!isRelation(field)) return field.name;
      return depth > 0 ? `${field.name} ${ofRows(field, everything(rowType(field), depth - 1, refused))}` : '';
    });
  return `{ __typename ${fields.filter(Boolean).join(' ')} }`;
}

/**
 * The fields of each type that a caller is refused, each as `Type.field`. One of them makes a whole query fail, which then proves
 * nothing of the others: what is not among them is asked for.
 */
export async function refusals(ask: World['ask'], roots: Field[], token: string | undefined): Promise<Refused> {
  const refused: Refused = new Set();
  const ways = new Map(roots.map((root) => [rowType(root), root]));
  const waiting = ways.entries();
  const next = async (): Promise<void> => {
    for (const [type, root] of waiting) {
      const may = async (fields: Field[]): Promise<boolean> => {
        const list = fields.map((field) => (isRelation(field) ? `${field.name} { __typename }` : field.name));
        const body = ofRows(root, `{ __typename ${list.join(' ')} }`);
        const { errors } = await ask(`{ ${root.name} ${body} }`, {}, token);
        return !errors;
      };
      const find = async (fields: Field[]): Promise<void> => {
        if (fields.length === 0 || (await may(fields))) return;
        if (fields.length === 1) refused.add(`${type.name}.${fields[0]?.name}`);
        else {
          const half = fields.length >> 1;
          await find(fields.slice(0, half));
          await find(fields.slice(half));
        }
      };
      if (await may([])) await find(fieldsOf(type));
    }
  };
  await Promise.all([next(), next(), next()]);
  return refused;
}

type Values = (scalar: string) => unknown[];

/**
 * Conditions on every column that a filter can reach, directly and through relations. Postgres guards the rows of a relation by
 * the policies of their table, whichever quantifier asks: each condition is asked for with `some`, one of each relation with all three.
 *
 * @param values what columns of a type are compared with.
 */
function conditions(type: GraphQLInputObjectType, depth: number, values: Values, isWithin = false): object[] {
  return Object.values(type.getFields()).flatMap((field): object[] => {
    const inner = getNamedType(field.type);
    if (['and', 'or', 'not'].includes(field.name) || !isInputObjectType(inner)) return [];
    const operators = inner.getFields();
    if (operators.eq) {
      const compared = values(String(operators.eq.type));
      // A column has one value: of all rows, as many are in a list as equal one of it.
      if (isWithin) return [{ [field.name]: compared[0] ? { in: compared } : { isNull: true } }];
      return [
        ...compared.map((value) => ({ [field.name]: { eq: value } })),
        ...(operators.lt && compared[0] ? [{ [field.name]: { lt: compared[0] } }] : []),
        ...(operators.startsWith ? [{ [field.name]: { startsWith: '+7999' } }] : []),
        { [field.name]: { isNull: true } },
      ];
    }
    if (depth === 0) return [];
    if (operators.some) {
      const inside = conditions(getNamedType(operators.some.type) as GraphQLInputObjectType, depth - 1, values, true);
      return [
        ...[{}, inside[0] ?? {}].flatMap((condition) => [
          { [field.name]: { none: condition } },
          { [field.name]: { every: condition } },
        ]),
        ...[{}, ...inside].map((condition) => ({ [field.name]: { some: condition } })),
      ];
    }
    return [{}, ...conditions(inner, depth - 1, values, true)].map((condition) => ({ [field.name]: condition }));
  });
}

/**
 * Every filter and order of the connections. A filter means the same for every field that takes one of its type: conditions through
 * relations are asked of the first of them, those on columns of all.
 */
export function filterProbes(graph: GraphQLSchema, connections: Field[], values: Values): Probe[] {
  const seen = new Set<string>();
  return connections.flatMap(({ name, args }) => {
    const filter = args.find((each) => each.name === 'filter');
    const order = args.find((each) => each.name === 'orderBy');
    const query = args.some((each) => each.name === 'query')
      ? { query: { type: 'String!', value: 'hello' } }
      : undefined;
    const probes: Probe[] = [];
    if (filter) {
      const named = getNamedType(filter.type) as GraphQLInputObjectType;
      const page = '{ totalCount nodes { __typename } pageInfo { hasNextPage hasPreviousPage } }';
      const ask = (value: object, body: string) =>
        probes.push({ name, given: { ...query, filter: { type: String(filter.type), value } }, body });
      for (const value of conditions(named, 0, values)) ask(value, page);
      const direct = new Set(conditions(named, 0, values).map((value) => JSON.stringify(value)));
      const further = seen.has(named.name) ? [] : conditions(named, 1, values);
      for (const value of further) if (!direct.has(JSON.stringify(value))) ask(value, '{ totalCount }');
      seen.add(named.name);
    }
    if (order) {
      const type = graph.getType(getNamedType(order.type).name) as unknown as { getValues(): { name: string }[] };
      const body = '{ nodes { __typename } pageInfo { hasNextPage endCursor } }';
      const first = { type: 'Int', value: 1 };
      for (const { name: value } of type.getValues())
        probes.push({ name, given: { ...query, orderBy: { type: String(order.type), value }, first }, body });
    }
    return probes;
  });
}
