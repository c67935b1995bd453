import { readFileSync } from 'node:fs';
import path from 'node:path';
import type pg from 'pg';
import type { SchemaFile } from './schema-file.ts';

/**
 * The statements that bring every object of the application back to the privileges it was created with. The grants of
 * the file, run again after them, then leave what they leave in an empty database; a grant that was taken out of the
 * file is gone. Only `public` and the roles that the files' grants name lose anything: a role that someone gave rights
 * to by hand keeps them. Objects of extensions are left alone.
 *
 * @param files the former and the new schema file
 */
export async function privilegeResets(client: pg.ClientBase, files: SchemaFile[]): Promise<string[]> {
  const { rows } = await client.query<{ statement: string }>(resets, [schemasOf(files), rolesOf(files)]);
  return rows.map(({ statement }) => statement);
}

/** The schemas that a file creates. */
export function schemasOf(files: SchemaFile[]): string[] {
  const names = files.flatMap(({ statements }) =>
    statements.map(({ tree }) => ('CreateSchemaStmt' in tree ? tree.CreateSchemaStmt.schemaname : undefined)),
  );
  return [...new Set(names.filter((name) => name !== undefined))];
}

function rolesOf(files: SchemaFile[]): string[] {
  const roles = files.flatMap(({ statements }) =>
    statements.flatMap(({ tree }) => {
      const grant = 'AlterDefaultPrivilegesStmt' in tree ? tree.AlterDefaultPrivilegesStmt.action : undefined;
      const { grantees = [] } = grant ?? ('GrantStmt' in tree ? tree.GrantStmt : {});
      return grantees.map((role) => ('RoleSpec' in role ? role.RoleSpec.rolename : undefined));
    }),
  );
  return [...new Set(roles.filter((name) => name !== undefined))];
}

const resets = readFileSync(path.join(import.meta.dirname, 'schema-privileges.sql'), 'utf8');
