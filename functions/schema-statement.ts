import pg from 'pg';
import { Refusal } from './refusal.ts';
import { lineAt, type SchemaFile, type Statement } from './schema-file.ts';

/**
 * Executes one statement of a schema file.
 *
 * @param sql what to execute when it is not the statement itself, such as a drop of what it had created
 * @throws Refusal with file, line, the beginning of the statement and all that Postgres says about it
 */
export async function execute(client: pg.ClientBase, file: SchemaFile, statement: Statement, sql = statement.text) {
  try {
    await client.query(sql);
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    throw new Refusal(describe(error, file, statement, sql), { cause: error });
  }
}

const atOnce = 100;

/** Executes all statements of a schema file, in a transaction of the caller's; many go together, for a wait of each less. @throws Refusal */
export async function executeAll(client: pg.ClientBase, file: SchemaFile): Promise<void> {
  for (let start = 0; start < file.statements.length; start += atOnce) {
    const some = file.statements.slice(start, start + atOnce);
    await client.query('savepoint some_statements');
    try {
      await client.query([...some.map(({ text }) => text), 'release savepoint some_statements'].join('\n;\n'));
    } catch (error) {
      if (!(error instanceof pg.DatabaseError)) throw error;
      // One by one, it shows which of them it was.
      await client.query('rollback to savepoint some_statements');
      for (const statement of some) await execute(client, file, statement);
    }
  }
}

const shownLines = 5;

function describe(error: pg.DatabaseError, file: SchemaFile, statement: Statement, sql: string): string {
  const own = sql === statement.text;
  const inside = own && error.position ? lineAt(sql, Number(error.position) - 1) : 1;
  const line = statement.line + inside - 1;
  const said = [
    ['Detail', error.detail],
    ['Hint', error.hint],
    ['Where', error.where],
  ].flatMap(([name, text]) => (text ? [`${name}: ${text}`] : []));
  return [
    `${own ? `${file.fileName}:${line}` : `${file.fileName} (${statement.kind} ${statement.name})`}: ${error.message}`,
    '',
    ...excerpt(sql, own ? statement.line : undefined, inside),
    '',
    ...said,
    `Postgres calls this ${error.code}. Everything is as it was before.`,
  ].join('\n');
}

/** The first lines of a statement and the one that failed, numbered as in the file. */
function excerpt(sql: string, firstLine: number | undefined, failed: number): string[] {
  const lines = sql.split('\n');
  const shown = lines.map((text, index) => {
    const mark = index + 1 === failed ? '>' : ' ';
    return firstLine === undefined ? `  ${text}` : `${mark} ${String(firstLine + index).padStart(4)} | ${text}`;
  });
  const head = shown.slice(0, shownLines);
  if (failed > shownLines)
    return [...head, '  …', ...shown.slice(failed - 1, failed), ...(failed < lines.length ? ['  …'] : [])];
  return lines.length > shownLines ? [...head, '  …'] : head;
}
