import { GraphQLNonNull, type GraphQLOutputType } from 'graphql';
import { Refusal } from '../functions/refusal.ts';
import type { Field } from './plan.ts';

export type Fields = Record<string, Field>;

/**
 * Adds a field; two of one name, or a name that GraphQL does not allow, stop the start.
 *
 * @param object what in the database the field is, for the message.
 */
export function add(fields: Fields, name: string, field: Field, object: string): void {
  const other = fields[name]?.extensions?.object;
  const wrong = other
    ? `Two things are called ${name} in the same place of the API: ${other} and ${object}.`
    : !isName(name) && `${object} would be called ${name} in the API, which GraphQL does not allow.`;
  if (wrong) {
    throw new Refusal(wrong, {
      remedy: 'Give it another name: a line "@name other_name" in its comment (on a constraint for a relation).',
    });
  }
  fields[name] = { ...field, extensions: { ...field.extensions, object } };
}

/** Whether GraphQL allows a name, and does not keep it for itself. */
export function isName(name: string): boolean {
  return /^(?!__)[_A-Za-z]\w*$/.test(name);
}

export function notNullIf(condition: unknown, type: GraphQLOutputType): GraphQLOutputType {
  return condition && !(type instanceof GraphQLNonNull) ? new GraphQLNonNull(type) : type;
}
