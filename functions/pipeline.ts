import type pg from 'pg';

/**
 * A prepared statement: its text, under a name that stands for that text on every connection. Postgres plans a statement
 * anew when it meets it under another role, so one that several roles run has a name for each. One without a name is prepared each time.
 */
export type Prepared = { name: string; text: string };

/** A prepared statement with its values, each in Postgres's text form. */
export type Call = { statement: Prepared; values: (string | null)[] };

/** The rows of each statement; each value in Postgres's text form. */
export type Rows = (string | null)[][];

/** An error of Postgres, with the position of the statement that it came from. */
export type PipelineError = Error & { code?: string; at?: number };

let statements = 0;

/** Names a statement. The names are never reused, so that a connection that still knows an old one does no harm. */
export function prepare(text: string): Prepared {
  if (text.length > longest) return { name: '', text };
  statements += 1;
  return { name: `p${statements}`, text };
}

// What Postgres keeps of a statement, its plan above all, is about 200 times as long as its text: some 50 MB a connection.
const mostLetters = 256 * 1024;
// A longer one would drive out many others.
const longest = 32 * 1024;

/** What a connection has prepared, oldest use first, so that clients cannot make it remember statements without bound. */
type Known = { letters: number; statements: Map<string, { isReady: boolean; letters: number }> };
const known = new WeakMap<object, Known>();

type Connection = pg.Connection & {
  stream: { cork(): void; uncork(): void };
  parse(query: { name: string; text: string; types: number[] }): void;
  bind(config: { portal: string; statement: string; values: (string | null)[] }): void;
  execute(config: { portal: string; rows: number }): void;
  close(target: { type: 'S'; name: string }): void;
  sync(): void;
};

/**
 * Runs statements in one round trip and one transaction: all of them, or none when one fails. They are sent together with a
 * single Sync, which is what Postgres commits at; `begin` and `commit` would be two more statements. (node-postgres lets a
 * query object speak the protocol itself; cursors do the same.)
 *
 * @returns the rows of each statement.
 * @throws PipelineError with `at`, the index of the statement that failed.
 */
export function pipeline(client: pg.ClientBase, calls: Call[]): Promise<Rows[]> {
  return new Promise((resolve, reject) => {
    const results: Rows[] = calls.map(() => []);
    const parsed: string[] = [];
    let prepared: Known;
    let at = 0;
    client.query({
      submit(connection: Connection) {
        prepared = known.get(connection) ?? { letters: 0, statements: new Map() };
        known.set(connection, prepared);
        const close = (name: string): void => {
          connection.close({ type: 'S', name });
          prepared.letters -= prepared.statements.get(name)?.letters ?? 0;
          prepared.statements.delete(name);
        };
        connection.stream.cork();
        // First of all: what follows a statement that fails is not even read.
        for (const name of prepared.statements.keys()) {
          if (prepared.letters <= mostLetters) break;
          close(name);
        }
        for (const { statement, values } of calls) {
          const { name, text } = statement;
          const before = prepared.statements.get(name);
          if (before?.isReady === false) connection.close({ type: 'S', name });
          if (!before?.isReady) {
            connection.parse({ name, text, types: [] });
            parsed.push(name);
          }
          prepared.letters += text.length - (before?.letters ?? 0);
          prepared.statements.delete(name);
          prepared.statements.set(name, { isReady: true, letters: text.length });
          connection.bind({ portal: '', statement: name, values });
          connection.execute({ portal: '', rows: 0 });
          if (name === '') close('');
        }
        connection.sync();
        connection.stream.uncork();
      },
      handleDataRow({ fields }: { fields: (string | null)[] }) {
        results[at]?.push(fields);
      },
      handleCommandComplete() {
        at += 1;
      },
      handleEmptyQuery() {
        at += 1;
      },
      handleRowDescription() {},
      handlePortalSuspended() {},
      handleReadyForQuery() {
        resolve(results);
      },
      handleError(error: PipelineError) {
        // Which of these Postgres had prepared before it failed is not known; closing one that it has not does no harm.
        for (const name of parsed) {
          const statement = prepared.statements.get(name);
          if (statement) statement.isReady = false;
        }
        error.at = at;
        reject(error);
      },
    } as unknown as pg.Submittable);
  });
}

/** A list in Postgres's text form: `{"a","b",NULL}`. */
export function arrayText(values: (string | null)[]): string {
  const quoted = values.map((value) => (value === null ? 'NULL' : `"${value.replace(/(["\\])/g, '\\$1')}"`));
  return `{${quoted.join(',')}}`;
}
