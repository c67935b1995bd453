import {
  type FieldNode,
  GraphQLError,
  type GraphQLObjectType,
  getNamedType,
  type OperationDefinitionNode,
} from 'graphql';
import { type Prepared, prepare } from '../functions/pipeline.ts';
import { quote } from '../functions/sql-names.ts';
import { payloadField } from './calls.ts';
import { compileConnection } from './compile-connection.ts';
import { type CompiledSubscription, compileSubscription } from './compile-subscription.ts';
import {
  type Context,
  collectFields,
  enter,
  type Input,
  input,
  type Read,
  type Request,
  readText,
  spend,
} from './context.ts';
import { limitIntrospection, readSchema } from './introspection.ts';
import type { FunctionPlan, Row } from './plan.ts';
import { argumentList, jsonObject, literal, newAlias, type Selected, scopeOf, select } from './select.ts';
import { visibleColumns } from './tables.ts';

/** A statement and where its values come from. */
export type Compiled = {
  statement: Prepared;
  reads: Read[];
  /** Where in its answer values stand that the server has to sign. */
  signs: string[][];
};

/** A field of a mutation: what it does, what it then reads, and what the server does for it before and after. */
export type CompiledMutation = {
  /** What the API calls it. */
  name: string;
  effect: Compiled;
  selection: Compiled;
  /** The value at `index` of the effect's values is hashed first, with the salt that a statement of its own gives. */
  hash?: { index: number; salt?: Compiled };
  /** The values of the effect that are encrypted first. */
  seals: number[];
  /** It is not run but gathered, for the function `by`, and answered at once. */
  gathered?: { by: string; input: [name: string, read: Read][]; answer: string };
  /** Whether the selection reads more than what the function returned. */
  mayFail: boolean;
};

/** An operation as SQL, for one role and one shape of variables. */
export type CompiledOperation = {
  query?: Compiled;
  subscription?: CompiledSubscription;
  /** By the key of each; the name of a type that is asked for stands as it is. */
  mutations: [key: string, mutation: CompiledMutation | string][];
};

/**
 * Compiles an operation: a query to one statement, each field of a mutation to two.
 *
 * @throws GraphQLError where the operation goes over a limit, or an argument is out of range.
 */
export function compileOperation(request: Request, operation: OperationDefinitionNode): CompiledOperation {
  const context = enter(request);
  const type = request.schema.getRootType(operation.operation) as GraphQLObjectType;
  const fields = collectFields(context, type, [operation.selectionSet]);
  if (operation.operation === 'query') {
    return { query: compileQuery(context, type, fields, operation), mutations: [] };
  }
  if (operation.operation === 'subscription') {
    const [[key, nodes]] = fields as Iterable<[string, FieldNode[]]> as [[string, FieldNode[]]];
    return { subscription: compileSubscription(request, key, nodes), mutations: [] };
  }
  const mutations = [...fields].map(([key, nodes]): CompiledOperation['mutations'][number] => [
    key,
    nodes[0]?.name.value === '__typename' ? type.name : compileMutation(request, context, type, nodes),
  ]);
  return { mutations };
}

type Fields = ReturnType<typeof collectFields>;

function compileQuery(
  context: Context,
  type: GraphQLObjectType,
  fields: Fields,
  operation: OperationDefinitionNode,
): Compiled {
  const keys = [...fields.keys()];
  const asked: [string, string][] = [];
  for (const [key, nodes] of fields) {
    if (!/^__(schema|type)$/.test(nodes[0]?.name.value ?? '')) continue;
    limitIntrospection(context, nodes);
    asked.push([key, `${context.bind(readSchema(context.schema, context.document, operation, key, nodes))}::json`]);
    fields.delete(key);
  }
  const { pairs, joins, rows } = select(context, type, fields, undefined, 1, compileConnection, []);
  const inOrder = [...pairs, ...asked].sort(([one], [other]) => keys.indexOf(one) - keys.indexOf(other));
  const text = bounded(context, jsonObject(inOrder), rows, joins);
  return compiled(context, text);
}

/**
 * A statement that gives an answer as JSON, null where it is too large to be sent here at all, and how many rows were read for it. Without
 * `offset 0` Postgres would make the JSON twice: to measure it, and to send it.
 */
function bounded({ limits }: Context, json: string, rows: string[], joins: string[], others = ''): string {
  return (
    `select case when octet_length(answer.json) <= ${limits.maxAnswerBytes} then answer.json end, answer.rows::text${others} ` +
    `from (select ${json}::text as json, ${total(rows)} as rows from (values (0)) as o${joins.join('')} offset 0) as answer`
  );
}

function compiled({ reads, signs }: Context, text: string): Compiled {
  return { statement: prepare(text), reads, signs };
}

function total(rows: string[]): string {
  return rows.length > 0 ? `(${rows.map((each) => `coalesce(${each}, 0)`).join(' + ')})` : '0';
}

// What the function returned waits in a setting of the transaction, in Postgres's own text form, so that both statements go in
// one round trip and a row that the function locked is not held for the time of another.
const result = `current_setting('plinth.result', true)`;

function compileMutation(
  request: Request,
  counted: Context,
  type: GraphQLObjectType,
  nodes: Fields extends Map<string, infer Nodes> ? Nodes : never,
): CompiledMutation {
  const node = nodes[0] as (typeof nodes)[number];
  const field = type.getFields()[node.name.value];
  const plan = field?.extensions.plan;
  if (plan?.kind !== 'mutation' || !field) throw new Error(`${node.name.value} is not a mutation`);
  const { call } = plan;

  const effect = enter(request, counted);
  const given = input(effect, field, node, 'input');
  const hash = call.hash && compileHash(request, counted, call, given);
  const list = argumentList(effect, call, undefined, (apiName) => given?.field(apiName), hash?.marks);
  const text = `select set_config('plinth.refused', '', true), set_config('plinth.signals', '', true), set_config('plinth.result', ${keep(call, list)}, true)`;

  const selection = enter(request, counted);
  const payload = getNamedType(field.type) as GraphQLObjectType;
  const pairs: [string, string][] = [];
  const joins: string[] = [];
  const rows: string[] = [];
  let mayFail = false;
  const fields = collectFields(selection, payload, sets(nodes));
  for (const [payloadKey, payloadNodes] of fields) {
    if (payloadNodes[0]?.name.value === '__typename') pairs.push([payloadKey, literal(payload.name)]);
    else {
      const kept = readKept(selection, call, payload, payloadNodes, [payloadKey]);
      pairs.push([payloadKey, kept.json]);
      joins.push(...kept.joins);
      rows.push(...kept.rows);
      mayFail ||= kept.mayFail;
    }
  }
  const deliveries = deliveryOf(call);
  const others = `, nullif(current_setting('plinth.refused', true), ''), ${deliveries ?? 'null'}::text, nullif(current_setting('plinth.signals', true), '')`;
  const read = bounded(selection, jsonObject(pairs), rows, joins, others);
  // Left out, an optional argument is not hashed.
  const index = hash ? effect.reads.indexOf(hash.marks.read) : -1;
  return {
    name: field.name,
    effect: compiled(effect, text),
    seals: effect.seals,
    selection: compiled(selection, read),
    ...(index >= 0 && { hash: { index, ...(hash?.salt && { salt: hash.salt }) } }),
    ...(call.gatheredBy && { gathered: gather(call.gatheredBy, call, given, payload, fields) }),
    mayFail,
  };
}

/** The answer is known before anything is done: it is done later, or not at all. */
function gather(by: string, call: FunctionPlan, given: Input | undefined, payload: GraphQLObjectType, fields: Fields) {
  const input = call.arguments.map(({ name, apiName, codec }): [string, Read] => [
    name,
    readText(given?.field(apiName)?.read, codec),
  ]);
  const answer = [...fields].map(([key, [node]]) => [key, node?.name.value === '__typename' ? payload.name : true]);
  return { by, input, answer: JSON.stringify(Object.fromEntries(answer)) };
}

function sets(nodes: { selectionSet?: OperationDefinitionNode['selectionSet'] | undefined }[]) {
  return nodes.flatMap(({ selectionSet }) => selectionSet ?? []);
}

/** The SQL that calls the function and gives its result as text. */
function keep({ sqlName, result, returnsSet }: FunctionPlan, list: string): string {
  const call = `${sqlName}(${list})`;
  if (result.kind === 'void') return `(select count(*)::text from ${call} as "r ")`;
  if (result.kind === 'value' && !returnsSet) return `coalesce('=' || ${call}::text, '')`;
  if (result.kind === 'value') return `coalesce((select '=' || "r "::text from ${call} as "r " limit 1), '')`;
  if (result.kind === 'values') return `coalesce((select array_agg("r ")::text from ${call} as "r "), '')`;
  const kept = result.row.sqlName === 'record' ? 'jsonb_agg(to_jsonb("r "))' : 'array_agg("r ")';
  // A function that is not a set gives a row of nulls for null.
  const isThere = returnsSet ? '' : ' where not ("r " is null)';
  return `coalesce((select ${kept}::text from ${call} as "r "${isThere}), '')`;
}

function keptRows(row: Row): string {
  if (row.sqlName !== 'record') return `unnest(nullif(${result}, '')::${row.sqlName}[])`;
  const columns = row.columns.map((column) => `${quote(column.name)} ${row.typeName(column)}`);
  return `jsonb_to_recordset(nullif(${result}, '')::jsonb) as r (${columns.join(', ')})`;
}

/** The one field of a payload, read from what the function returned. */
function readKept(
  context: Context,
  call: FunctionPlan,
  payload: GraphQLObjectType,
  nodes: Parameters<typeof sets>[0],
  path: string[],
): { json: string; joins: string[]; rows: string[]; mayFail: boolean } {
  const alone = { joins: [], rows: [], mayFail: false };
  const { result: shape } = call;
  if (shape.kind === 'void') return { json: 'true', ...alone };
  if (shape.kind === 'value') {
    if (shape.codec.finish === 'sign') context.signs.push(path);
    return { json: shape.codec.toJson(`substr(nullif(${result}, ''), 2)::${shape.codec.sqlName}`), ...alone };
  }
  if (shape.kind === 'values') {
    if (shape.codec.finish === 'sign') context.signs.push(path);
    const item = shape.codec.toJson('item.value');
    const list = `unnest(nullif(${result}, '')::${shape.codec.sqlName}[]) as item (value)`;
    return { json: `(select coalesce(json_agg(${item}), '[]'::json) from ${list})`, ...alone };
  }
  const type = getNamedType(payload.getFields()[payloadField(call)]?.type) as GraphQLObjectType;
  const scope = scopeOf(context, shape.row);
  const fields = collectFields(context, type, sets(nodes));
  let mayFail = false;
  for (const [node] of fields.values()) {
    const plan = type.getFields()[node?.name.value ?? '']?.extensions.plan;
    if (plan && plan.kind !== 'column') mayFail = true;
  }
  const many = shape.kind === 'rows';
  const multiplicity = many ? context.limits.maxPage : 1;
  spend(context, multiplicity);
  const selected: Selected = select(context, type, fields, scope, 2, compileConnection, path, multiplicity);
  const json = jsonObject(selected.pairs);
  const from = `(select * from ${keptRows(shape.row)}) as ${scope.alias}${selected.joins.join('')}`;
  const inner = many
    ? `select coalesce(json_agg(${json}), '[]'::json) as data, count(*) + coalesce(sum(${total(selected.rows)}), 0) as n from ${from}`
    : `select ${json} as data, ${total(selected.rows)} as n from ${from} limit 1`;
  const alias = newAlias(context);
  const join = ` left join lateral (${inner}) as ${alias} on true`;
  return { json: `${alias}.data`, joins: [join], rows: [`${alias}.n`], mayFail };
}

/** What the server has to deliver: the hidden attributes of the row that the function returned. */
function deliveryOf({ result: shape }: FunctionPlan): string | undefined {
  if (shape.kind !== 'row') return;
  const { row } = shape;
  const columns = visibleColumns(row).filter(({ column }) => row.codec(column).finish === 'deliver');
  if (columns.length === 0) return;
  const list = columns.map(({ column }) => `r.${quote(column.name)}`).join(', ');
  return `(select json_build_array(${list}) from (select * from ${keptRows(row)}) as r)`;
}

function compileHash(request: Request, counted: Context, call: FunctionPlan, given: Input | undefined) {
  const { argument, saltedBy } = call.hash as NonNullable<FunctionPlan['hash']>;
  const apiName = call.arguments.find(({ name }) => name === argument)?.apiName ?? '';
  const password = given?.field(apiName);
  const marks = { argument, read: readPassword(password?.read, apiName) };
  if (!saltedBy) return { marks };
  const salt = enter(request, counted);
  const list = saltedBy.arguments.map((name) => {
    const used = call.arguments.find((each) => each.name === name) as FunctionPlan['arguments'][number];
    return `${salt.bind(readText(given?.field(used.apiName)?.read, used.codec))}::${used.codec.sqlName}`;
  });
  return { marks, salt: compiled(salt, `select ${saltedBy.sqlName}(${list.join(', ')})`) };
}

function readPassword(read: Input['read'] | undefined, argument: string): Read {
  return (variables) => {
    const value = read?.(variables);
    if (typeof value === 'string' && value.length >= 8 && value.length <= 1000) return value;
    throw new GraphQLError('A password has 8 to 1,000 characters.', {
      extensions: { code: 'BAD_USER_INPUT', argument },
    });
  };
}
