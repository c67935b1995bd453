import { GraphQLError } from 'graphql';
import type { Context } from './context.ts';
import { camelCase } from './names.ts';
import type { Row } from './plan.ts';

/**
 * Refuses a column that the role may not read. Postgres guards the rows of a table itself; this also holds for rows that a function
 * gives, which may run with more rights than its caller. Of a table that the role reads nothing of, the grant of the function alone
 * decides: logging in hands an anonymous caller the user.
 *
 * @throws GraphQLError FORBIDDEN.
 */
export function checkColumn({ role }: Context, row: Row, name: string): void {
  if (row.columns.every(({ roles }) => !roles.includes(role))) return;
  if (row.columns.some((column) => column.name === name && column.roles.includes(role))) return;
  throw new GraphQLError(`The caller may not read ${camelCase(name)} of ${row.name}.`, {
    extensions: { code: 'FORBIDDEN' },
  });
}
