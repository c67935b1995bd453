import { GraphQLNonNull, type GraphQLOutputType } from 'graphql';
import { Refusal } from '../functions/refusal.ts';
import type { Field } from './plan.ts';

export type Fields = Record<string, Field>;

/** Adds a field under a name that is checked. */
export function add(fields: Fields, name: string, field: Field, object: string): void {
  checkName(name, object, fields[name]?.extensions?.object);
  fields[name] = { ...field, extensions: { ...field.extensions, object } };
}

/**
 * Two things of one name in one place, and a name that GraphQL does not allow, stop the start.
 *
 * @param object what in the database is to have the name; `other` what has it already.
 */
export function checkName(name: string, object: string, other: string | undefined): void {
  const wrong = other
    ? `Two things are called ${name} in the same place of the API: ${other} and ${object}.`
    : !/^(?!__)[_A-Za-z]\w*$/.test(name) &&
      `${object} would be called ${name} in the API, which GraphQL does not allow.`;
  if (!wrong) return;
  throw new Refusal(wrong, {
    remedy: 'Give it another name: a line "@name other_name" in its comment (on a constraint for a relation).',
  });
}

export function notNullIf(condition: unknown, type: GraphQLOutputType): GraphQLOutputType {
  return condition && !(type instanceof GraphQLNonNull) ? new GraphQLNonNull(type) : type;
}
