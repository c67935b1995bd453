import { type FieldNode, GraphQLError, type GraphQLObjectType, getNamedType, type VariableValues } from 'graphql';
import { prepare } from '../functions/pipeline.ts';
import { quote } from '../functions/sql-names.ts';
import { payloadField } from './calls.ts';
import type { Compiled } from './compile.ts';
import { compileConnection } from './compile-connection.ts';
import { collectFields, enter, input, type Request } from './context.ts';
import type { FunctionPlan } from './plan.ts';
import { argumentList, jsonObject, literal, scopeOf, select } from './select.ts';

/** A subscription as SQL: what gives the right to listen, and what is sent for events. */
export type CompiledSubscription = {
  /** Gives a row (topic, seq) for each topic; fails where the caller has no right to them. */
  listen: Compiled;
  /**
   * Gives a row (position, JSON) for each event that is sent. Its first value is a JSON list of events, its second how many bytes the
   * JSON of one may have: what is larger is null, so that it is not even read.
   */
  selection: Compiled;
  /** How many rows Postgres may read for one event. */
  cost: number;
  /** The cursor that the client gave. */
  after(values: VariableValues): string | undefined;
  /** Whether what is sent may differ from one listener to another. */
  personal: boolean;
};

/** Compiles the one field of a subscription. */
export function compileSubscription(request: Request, key: string, nodes: FieldNode[]): CompiledSubscription {
  const node = nodes[0] as FieldNode;
  const field = (request.schema.getSubscriptionType() as GraphQLObjectType).getFields()[node.name.value];
  const plan = field?.extensions.plan;
  if (plan?.kind !== 'subscription' || !field) throw new Error(`${node.name.value} is not a subscription`);
  const { call } = plan;
  const { event, listen } = call.subscription as NonNullable<FunctionPlan['subscription']>;

  const right = enter(request);
  const rightArguments = argumentList(right, listen, undefined, (name) => input(right, field, node, name));
  const rightText = `select topic, seq::text from ${listen.sqlName}(${rightArguments})`;

  const context = enter(request, right);
  const events = context.bind(() => null);
  const most = context.bind(() => null);
  const happened = scopeOf(context, event);
  const row = 'row' in call.result ? call.result.row : event;
  const result = scopeOf(context, row);
  const columns = event.columns.map(({ name }) => quote(name)).join(', ');
  const given = argumentList(context, call, undefined, (name) => input(context, field, node, name));
  const whole = `row(${event.columns.map(({ name }) => happened.column(name)).join(', ')})::${event.sqlName}`;

  const pairs: [string, string][] = [];
  const joins: string[] = [];
  const payload = getNamedType(field.type) as GraphQLObjectType;
  for (const [payloadKey, inner] of collectFields(context, payload, setsOf(nodes))) {
    const name = inner[0]?.name.value as string;
    const type = getNamedType(payload.getFields()[name]?.type) as GraphQLObjectType;
    if (name === '__typename') pairs.push([payloadKey, literal(payload.name)]);
    else if (!('row' in call.result) && name === payloadField(call)) {
      pairs.push([payloadKey, 'codec' in call.result ? call.result.codec.toJson(`${result.alias}.value`) : 'true']);
    } else {
      const scope = name === 'event' ? happened : result;
      const selected = select(
        context,
        type,
        collectFields(context, type, setsOf(inner)),
        scope,
        2,
        compileConnection,
        [],
      );
      joins.push(...selected.joins);
      const json = jsonObject(selected.pairs);
      pairs.push([payloadKey, scope === result ? `case when not (${result.alias} is null) then ${json} end` : json]);
    }
  }
  if (context.signs.length > 0 || ('codec' in call.result && call.result.codec.finish)) {
    throw new GraphQLError('What is listened to cannot have a token in it.', { extensions: { code: 'BAD_REQUEST' } });
  }
  const alias = 'row' in call.result ? result.alias : `${result.alias} (value)`;
  // Without `offset 0` Postgres would make each JSON twice: to measure it, and to send it.
  const text =
    `select sent.position::text, case when octet_length(sent.json) <= ${most}::integer then sent.json end from (` +
    `select ${happened.alias}.position, ${jsonObject([[key, jsonObject(pairs)]])}::text as json ` +
    `from json_populate_recordset(null::${event.sqlName}, ${events}::json) with ordinality as ${happened.alias} (${columns}, position) ` +
    `cross join lateral ${call.sqlName}(${[whole, given].filter(Boolean).join(', ')}) as ${alias}${joins.join('')} offset 0` +
    ') as sent order by sent.position';
  return {
    listen: { statement: prepare(rightText), reads: right.reads, signs: [] },
    selection: { statement: prepare(text), reads: context.reads, signs: [] },
    cost: context.counts.cost,
    after: readAfter(),
    personal: !call.shared || context.counts.personal > 0,
  };

  function readAfter(): CompiledSubscription['after'] {
    const after = input(enter(request), field as NonNullable<typeof field>, node, 'after');
    return (values) => (after?.read(values) as string | null | undefined) ?? undefined;
  }
}

function setsOf(nodes: FieldNode[]) {
  return nodes.flatMap(({ selectionSet }) => selectionSet ?? []);
}
