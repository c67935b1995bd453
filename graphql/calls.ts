import {
  GraphQLBoolean,
  GraphQLInputObjectType,
  GraphQLList,
  GraphQLNonNull,
  GraphQLObjectType,
  type GraphQLOutputType,
  GraphQLString,
} from 'graphql';
import type { PgFunction } from '../functions/catalog.ts';
import { Refusal } from '../functions/refusal.ts';
import { quote } from '../functions/sql-names.ts';
import { readComment, type Tags } from '../functions/tags.ts';
import { rowOf, type Types } from './codecs.ts';
import { notNullIf } from './fields.ts';
import { camelCase, pascalCase, plural } from './names.ts';
import type { Codec, Field, FunctionPlan, Row } from './plan.ts';
import { columnFields, readOrder } from './tables.ts';

export type Call = {
  fn: PgFunction;
  /** `function chat.mark_read(uuid, bigint)`: what messages call it. */
  object: string;
  name: string;
  description: string | undefined;
  tags: Tags;
  plan: FunctionPlan;
};

/** What a function is in the API; nothing where its comment hides it. */
export function readFunction(fn: PgFunction, types: Types): Call | undefined {
  const object = `function ${fn.schema}.${fn.name}(${fn.arguments.map(({ type }) => types.typeName(type)).join(', ')})`;
  const { description, tags } = readComment(fn.comment, object);
  if (tags.hide) return;
  const first = fn.arguments[0];
  const row =
    first && types.catalog.tables.some(({ rowType }) => rowType === first.type) && types.codec(first.type, object).row;
  const ofRow = !fn.volatile && row ? row : undefined;
  const event = tags.subscription && first ? types.codec(first.type, object).row : undefined;
  const named = readArguments(ofRow || event ? fn.arguments.slice(1) : fn.arguments, object, types, fn.volatile);
  const result = readResult(fn, object, types);
  const plan: FunctionPlan = {
    sqlName: `${quote(fn.schema)}.${quote(fn.name)}`,
    ...(ofRow && { ofRow }),
    arguments: named,
    result,
    returnsSet: fn.returnsSet,
    order: result.kind === 'rows' ? readOrder(tags.order, result.row.columns, object) : [],
    cost: Number(tags.cost ?? 0),
    ...(tags.argon2id && { hash: readHash(tags.argon2id, named, object) }),
    ...(tags.subscription && { subscription: readSubscription(tags.subscription, fn, event, object, types) }),
    shared: tags.shared === true,
    ...(tags.keptUntil && { keptUntil: tags.keptUntil }),
    ...(tags.gathered && { gatheredBy: readGathered(tags.gathered, fn, result, object) }),
  };
  if (tags.keptUntil) checkKept(plan, fn, object);
  return { object, fn, name: camelCase(tags.name ?? fn.name), description, tags, plan };
}

/** What leads to tables changes with more than one topic. */
function checkKept({ ofRow, result }: FunctionPlan, { volatile }: PgFunction, object: string): void {
  const isOfTable = (result.kind === 'row' || result.kind === 'rows') && result.row.key.length > 0;
  if (!volatile && !ofRow && !isOfTable) return;
  throw new Refusal(`The comment on ${object} keeps what cannot be kept: @keptUntil`, {
    remedy: 'Write it on a stable function that gives values or a composite type, not rows of a table.',
  });
}

/** What its calls come to is not known when they are answered. */
function readGathered(tag: string, { volatile }: PgFunction, result: FunctionPlan['result'], object: string): string {
  const names = tag.split('.');
  if (volatile && result.kind === 'void' && names.length === 2) return names.map(quote).join('.');
  throw new Refusal(`The comment on ${object} gathers what cannot be gathered: @gathered ${tag}`, {
    remedy:
      'Write it on a volatile function that returns void, and name the one that takes the calls: @gathered schema.function.',
  });
}

function readArguments(
  given: PgFunction['arguments'],
  object: string,
  types: Types,
  volatile = false,
): FunctionPlan['arguments'] {
  return given.map((argument) => {
    const codec = types.codec(argument.type, `argument ${argument.name} of ${object}`);
    if (!codec.input || argument.name === '') {
      throw new Refusal(`The API cannot pass argument ${argument.name || '(without a name)'} of ${object}.`, {
        remedy:
          'Give it a name and a scalar type (jsonb carries anything), or do not grant the function to an API role.',
      });
    }
    if (codec.sealed && !volatile) {
      throw new Refusal(`${object} would read what only a mutation stores: ${argument.name} is @sealed.`, {
        remedy: 'Make it volatile, or give the argument another type.',
      });
    }
    const { name, hasDefault, isVariadic } = argument;
    return { name, apiName: camelCase(name), codec, hasDefault, isVariadic };
  });
}

function readResult(fn: PgFunction, object: string, types: Types): FunctionPlan['result'] {
  if (fn.columns.length > 1) return { kind: fn.returnsSet ? 'rows' : 'row', row: columnsRow(fn, object, types) };
  const returned = fn.columns[0]?.type ?? fn.returns;
  if (types.catalog.types.some(({ oid, name }) => oid === returned && name === 'void')) return { kind: 'void' };
  const codec = types.codec(returned, `the result of ${object}`);
  const many = fn.returnsSet && fn.rows !== 1;
  if (codec.row) return { kind: many ? 'rows' : 'row', row: codec.row };
  if (codec.finish === 'deliver') {
    throw new Refusal(`The result of ${object} is to be delivered, but clients would see it.`, {
      remedy: 'Return a row that has it as an attribute: the API leaves that out.',
    });
  }
  return { kind: many ? 'values' : 'value', codec };
}

/** The row type of a function that `returns table (…)` or has several out arguments. */
function columnsRow(fn: PgFunction, object: string, types: Types): Row {
  const row = rowOf(types, types.claim(`${pascalCase(fn.name)}Row`, object), 'record', fn.columns, object);
  types.addRow(
    `row of ${fn.oid}`,
    row,
    `A row of ${camelCase(fn.name)}.`,
    () => columnFields(row) as Record<string, never>,
  );
  return row;
}

function readHash(tag: string, named: FunctionPlan['arguments'], object: string): NonNullable<FunctionPlan['hash']> {
  const [, argument = '', saltedBy, saltArguments = ''] =
    /^(\w+)(?:\s+salted by\s+([\w.]+)\(([\w, ]*)\))?$/.exec(tag) ?? [];
  const salts = saltArguments
    .split(',')
    .map((each) => each.trim())
    .filter(Boolean);
  if (![argument, ...salts].every((name) => named.some((each) => each.name === name))) {
    throw new Refusal(`The comment on ${object} hashes what is not an argument of it: @argon2id ${tag}`, {
      remedy: 'Write it as: @argon2id argument, or @argon2id argument salted by schema.function(argument).',
    });
  }
  const sqlName = saltedBy?.split('.').map(quote).join('.');
  return { argument, ...(sqlName && { saltedBy: { sqlName, arguments: salts } }) };
}

function readSubscription(
  tag: string,
  fn: PgFunction,
  event: Row | undefined,
  object: string,
  types: Types,
): NonNullable<FunctionPlan['subscription']> {
  const listen = types.catalog.functions.find(({ schema, name }) => `${schema}.${name}` === tag);
  if (event?.sqlName !== 'events.event' || fn.volatile || !listen) {
    throw new Refusal(`The comment on ${object} makes it a subscription, but it is not one: @subscription ${tag}`, {
      remedy:
        'Write a stable function whose first argument is events.event, and name the function that gives the right to listen, ' +
        'granted to the same roles: @subscription schema.function.',
    });
  }
  const named = readArguments(listen.arguments, `function ${tag}`, types);
  return { event, listen: { sqlName: tag.split('.').map(quote).join('.'), arguments: named } };
}

/** `messageEvents(channelId: …, after: …): MessageEventsPayload { event message }`. */
export function subscriptionField(call: Call, types: Types): Field {
  const name = call.name.charAt(0).toUpperCase() + call.name.slice(1);
  const { event, listen } = call.plan.subscription as NonNullable<FunctionPlan['subscription']>;
  return {
    type: new GraphQLNonNull(
      new GraphQLObjectType({
        name: types.claim(`${name}Payload`, call.object),
        description: `An event of ${call.name}.`,
        fields: () => ({
          event: { type: new GraphQLNonNull(types.object(event)), description: 'What happened.' },
          [payloadField(call.plan)]: {
            type: resultType(call.plan, types),
            description: 'What it is about, as it is now.',
          },
        }),
      }),
    ),
    description: call.description ?? null,
    args: {
      ...argumentTypes(listen),
      ...argumentTypes(call.plan),
      after: {
        type: GraphQLString,
        description: 'A cursor: what came after it is sent first, then what comes. Without it, what comes from now on.',
      },
    },
    extensions: { plan: { kind: 'subscription', call: call.plan } },
  };
}

export function resultType(plan: FunctionPlan, types: Types): GraphQLOutputType {
  const { result } = plan;
  if (result.kind === 'void') return GraphQLBoolean;
  if (result.kind === 'value') return result.codec.output;
  if (result.kind === 'values') return list(result.codec.output);
  return result.kind === 'row' ? types.object(result.row) : list(types.object(result.row));
}

function list(type: GraphQLOutputType): GraphQLOutputType {
  return new GraphQLNonNull(new GraphQLList(notNullIf(true, type)));
}

export function argumentTypes(plan: Pick<FunctionPlan, 'arguments'>): NonNullable<Field['args']> {
  return Object.fromEntries(
    plan.arguments.map(({ apiName, codec, hasDefault }) => {
      const input = codec.input as NonNullable<Codec['input']>;
      return [apiName, { type: hasDefault ? input : new GraphQLNonNull(input) }];
    }),
  );
}

/** `sendMessage(input: {…}): SendMessagePayload { message }`. */
export function mutationField(call: Call, types: Types): Field {
  const name = call.name.charAt(0).toUpperCase() + call.name.slice(1);
  const input =
    call.plan.arguments.length > 0 &&
    new GraphQLInputObjectType({
      name: types.claim(`${name}Input`, call.object),
      description: `What ${call.name} is told.`,
      fields: argumentTypes(call.plan),
    });
  const payload = new GraphQLObjectType({
    name: types.claim(`${name}Payload`, call.object),
    description: `What ${call.name} gives back.`,
    fields: () => ({
      [payloadField(call.plan)]: {
        type:
          call.plan.result.kind === 'void'
            ? new GraphQLNonNull(GraphQLBoolean)
            : notNullIf(call.tags.notNull, resultType(call.plan, types)),
        description: call.plan.result.kind === 'void' ? 'True: it is done.' : 'The result.',
      },
    }),
  });
  return {
    type: payload,
    description: call.description ?? null,
    ...(input && { args: { input: { type: new GraphQLNonNull(input) } } }),
    extensions: { plan: { kind: 'mutation', call: call.plan } },
  };
}

/** What the one field of a payload is called: after the row type, else `result`; `ok` where nothing is returned. */
export function payloadField({ result }: FunctionPlan): string {
  if (result.kind === 'void') return 'ok';
  if (result.kind === 'value' || result.kind === 'values') return 'result';
  const name = result.row.name.charAt(0).toLowerCase() + result.row.name.slice(1);
  return result.kind === 'row' ? name : plural(name);
}
