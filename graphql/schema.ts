import { GraphQLBoolean, GraphQLNonNull, GraphQLObjectType, GraphQLSchema } from 'graphql';
import type { Catalog } from '../functions/catalog.ts';
import { argumentTypes, type Call, mutationField, readFunction, resultType, subscriptionField } from './calls.ts';
import { readTypes } from './codecs.ts';
import { connectionArguments, connectionType, filterTypes, orderType } from './connections.ts';
import { add, checkName, type Fields, notNullIf } from './fields.ts';
import type { Field, FilterPlan, Row } from './plan.ts';
import { scalarNames } from './scalars.ts';
import { addRelations, addRootFields, columnFields, type Relation, readTables, type TableNode } from './tables.ts';

/**
 * The GraphQL schema of what a catalog grants. Each field carries in its extensions what it is in SQL (graphql/plan.ts).
 *
 * @throws Refusal for two things of one name, an unknown tag, or a type that the API cannot carry.
 */
export function buildSchema(catalog: Catalog): GraphQLSchema {
  const types = readTypes(catalog, (row) => columnFields(row) as Record<string, never>);
  for (const name of ['Query', 'Mutation', 'Subscription', 'PageInfo', ...scalarNames])
    types.claim(name, 'a type of every schema');

  const nodes = readTables(types);
  const relations = new Map<TableNode, Relation[]>(nodes.map((node) => [node, []]));
  const byOid = new Map(nodes.map((node) => [node.table.oid, node]));
  for (const node of nodes) {
    for (const key of node.table.foreignKeys) addRelations(node, key, byOid, relations);
  }

  // Types name each other in circles: their fields are given as functions, called when all of them are known.
  const connections = new Map<Row, Pick<Field, 'type' | 'args'>>();
  const connection = (row: Row): Pick<Field, 'type' | 'args'> => connections.get(row) as Pick<Field, 'type' | 'args'>;
  const filters = filterTypes(types.claim);
  let calls: Call[] = [];
  for (const node of nodes) {
    const { row, table } = node;
    const related = relations.get(node) as Relation[];
    types.addRow(table.rowType, row, node.description, () => {
      const fields = columnFields(row);
      for (const { name, constraint, description, row: other, plan } of related) {
        const config = plan.kind === 'connection' ? connection(other) : { type: types.object(other) };
        add(fields, name, { ...config, description, extensions: { plan } }, `constraint ${constraint}`);
      }
      for (const call of calls.filter(({ plan }) => plan.ofRow === row)) {
        add(fields, call.name, functionField(call), call.object);
      }
      return fields as Record<string, never>;
    });
    const filter = filters.rowFilter(table, row, () =>
      related.map(({ name, row: other, plan }) => ({
        name,
        row: other,
        plan: { kind: plan.kind === 'connection' ? 'many' : 'one', table: plan.table, on: plan.on } as FilterPlan,
      })),
    );
    connections.set(row, {
      type: new GraphQLNonNull(connectionType(row, types.object(row))),
      args: connectionArguments(row.key.length > 0 ? orderType(table, row) : null, filter),
    });
  }
  calls = catalog.functions.flatMap((fn) => readFunction(fn, types) ?? []);

  function functionField({ plan, tags, description, object }: Call): Field {
    const asConnection = plan.result.kind === 'rows' && connections.has(plan.result.row);
    const config: Pick<Field, 'type' | 'args'> =
      plan.result.kind === 'rows' && asConnection
        ? connection(plan.result.row)
        : { type: notNullIf(tags.notNull, resultType(plan, types)) };
    for (const { name, apiName } of plan.arguments) {
      checkName(apiName, `argument ${name} of ${object}`, config.args?.[apiName] && 'every connection');
    }
    return {
      ...config,
      description: description ?? null,
      args: { ...argumentTypes(plan), ...config.args },
      extensions: { plan: { kind: 'function', call: plan, connection: asConnection } },
    };
  }

  const query: Fields = {};
  for (const node of nodes) addRootFields(query, node, connection(node.row), types);
  const mutation: Fields = {};
  const subscription: Fields = {};
  for (const call of calls) {
    if (call.plan.subscription) add(subscription, call.name, subscriptionField(call, types), call.object);
    else if (call.fn.volatile) add(mutation, call.name, mutationField(call, types), call.object);
    else if (!call.plan.ofRow) add(query, call.name, functionField(call), call.object);
  }
  return new GraphQLSchema({
    query: new GraphQLObjectType({ name: 'Query', description: 'What can be read.', fields: orNothing(query) }),
    mutation:
      Object.keys(mutation).length > 0
        ? new GraphQLObjectType({
            name: 'Mutation',
            description:
              'What can be done. Each field of a document is a transaction of its own; they run one after another.',
            fields: mutation,
          })
        : null,
    subscription:
      Object.keys(subscription).length > 0
        ? new GraphQLObjectType({
            name: 'Subscription',
            description:
              'What can be listened to. Each event carries its cursor: who comes back after it misses nothing.',
            fields: subscription,
          })
        : null,
  });
}

/** GraphQL wants a query: where nothing is granted, one that says so. */
function orNothing(fields: Fields): Fields {
  if (Object.keys(fields).length > 0) return fields;
  return { nothing: { type: GraphQLBoolean, description: 'Nothing is granted to any API role yet.' } };
}
