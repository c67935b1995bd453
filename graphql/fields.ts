import { GraphQLNonNull, type GraphQLOutputType } from 'graphql';
import { Refusal } from '../functions/refusal.ts';
import type { Field } from './plan.ts';

export type Fields = Record<string, Field>;

/** Adds a field; two of one name stop the start. */
export function add(fields: Fields, name: string, field: Field): void {
  if (fields[name]) {
    throw new Refusal(
      `Two things are called ${name} in the same place of the API: ${fields[name].description} / ${field.description}`,
      {
        remedy:
          'Give one of them another name: a line "@name other_name" in its comment (on a constraint for a relation).',
      },
    );
  }
  fields[name] = field;
}

export function notNullIf(condition: unknown, type: GraphQLOutputType): GraphQLOutputType {
  return condition && !(type instanceof GraphQLNonNull) ? new GraphQLNonNull(type) : type;
}
