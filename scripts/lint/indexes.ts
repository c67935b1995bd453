import type { Constraint, IndexElem, IndexStmt, Node } from 'libpg-query';
import { meaningOf, type Statement } from '../../functions/schema-file.ts';
import { relationName, stringOf } from '../../functions/sql-names.ts';
import type { Finding } from './finding.ts';

/** An index of a table, made by itself or with a key. A column is its name, an expression or other order its meaning. */
type Index = {
  line: number;
  name: string;
  table: string;
  columns: string[];
  unique: boolean;
  method: string;
  /** The meaning of its `where`, empty for none; `onlyWhereSet` when that asks no more than that a column is not null. */
  where: string;
  onlyWhereSet: string | undefined;
  includes: boolean;
};

type Reference = { line: number; table: string; columns: string[] };

/** Foreign keys without an index (deleting what they refer to reads the whole table), indexes that another one covers. */
export function findInIndexes(statements: Statement[]): Finding[] {
  const constraints = statements.flatMap(constraintsOf);
  const indexes = [...statements.flatMap(indexOf), ...constraints.flatMap(keyOf)];
  return [
    ...constraints
      .flatMap(referenceOf)
      .filter((reference) => !indexes.some((index) => serves(index, reference)))
      .map(({ line, table, columns }) => ({
        line,
        rule: 'foreign-key-index',
        message: `no index of ${table} begins with ${columns.join(', ')}, which refers to another table`,
      })),
    ...indexes.flatMap((index) => {
      const better = indexes.find((other) => other !== index && covers(other, index));
      const message = `${index.name} is not needed beside ${better?.name}`;
      return better ? [{ line: index.line, rule: 'redundant-index', message }] : [];
    }),
  ];
}

function serves(index: Index, { table, columns }: Reference): boolean {
  const leading = index.columns.slice(0, columns.length);
  const whole = !index.where || (index.onlyWhereSet !== undefined && columns.includes(index.onlyWhereSet));
  const name = (column: string) => column.replace(/ (asc|desc)$/, '');
  return (
    index.table === table &&
    index.method === 'btree' &&
    whole &&
    columns.every((each) => leading.map(name).includes(each))
  );
}

/** Whether whatever `index` does, `other` does too. Of two that are alike, the later one is not needed. */
function covers(other: Index, index: Index): boolean {
  const alike = other.table === index.table && other.method === index.method && other.where === index.where;
  if (!alike || index.method !== 'btree' || index.includes) return false;
  if (!index.columns.every((column, position) => column === other.columns[position])) return false;
  const same = index.columns.length === other.columns.length;
  if (index.unique) return same && other.unique && other.line < index.line;
  return !same || other.unique || other.line < index.line;
}

function indexOf({ tree, line }: Statement): Index[] {
  if (!('IndexStmt' in tree)) return [];
  const { relation, idxname, indexParams = [], unique = false, accessMethod = 'btree', whereClause } = tree.IndexStmt;
  return [
    {
      line,
      name: idxname ?? 'an index without a name',
      table: relationName(relation),
      columns: indexParams.map((node) => ('IndexElem' in node ? columnOf(node.IndexElem) : '')),
      unique,
      method: accessMethod,
      where: whereClause ? meaningOf(whereClause) : '',
      onlyWhereSet: columnNotNull(whereClause),
      includes: (tree.IndexStmt.indexIncludingParams ?? []).length > 0,
    },
  ];
}

function columnOf({ name, ordering, nulls_ordering, opclass, collation, expr }: IndexElem): string {
  const plain = !opclass && !collation && !expr && nulls_ordering === 'SORTBY_NULLS_DEFAULT';
  if (!plain || !name) return meaningOf([name, ordering, nulls_ordering, opclass, collation, expr]);
  return ordering === 'SORTBY_DESC' ? `${name} desc` : name;
}

/** The column of `where column is not null`. */
function columnNotNull(where: IndexStmt['whereClause']): string | undefined {
  const test =
    where && 'NullTest' in where && where.NullTest.nulltesttype === 'IS_NOT_NULL' ? where.NullTest.arg : undefined;
  const fields = test && 'ColumnRef' in test ? (test.ColumnRef.fields ?? []) : [];
  return fields[0] ? stringOf(fields[0]) : undefined;
}

type Placed = Constraint & { line: number; table: string; column: string | undefined };

/** The constraints of a table, those beside a column with its name. */
function constraintsOf({ tree, line }: Statement): Placed[] {
  const place = (table: string, node: Node, column?: string): Placed[] =>
    'Constraint' in node ? [{ ...node.Constraint, line, table, column }] : [];
  const inElement = (table: string, element: Node): Placed[] => {
    if (!('ColumnDef' in element)) return place(table, element);
    const { colname, constraints = [] } = element.ColumnDef;
    return constraints.flatMap((node) => place(table, node, colname));
  };
  if ('CreateStmt' in tree) {
    const table = relationName(tree.CreateStmt.relation);
    return (tree.CreateStmt.tableElts ?? []).flatMap((element) => inElement(table, element));
  }
  if (!('AlterTableStmt' in tree)) return [];
  const table = relationName(tree.AlterTableStmt.relation);
  return (tree.AlterTableStmt.cmds ?? []).flatMap((command) =>
    'AlterTableCmd' in command && command.AlterTableCmd.def ? inElement(table, command.AlterTableCmd.def) : [],
  );
}

function keyOf({ contype = 'CONSTR_NULL', conname, keys = [], line, table, column }: Placed): Index[] {
  if (!['CONSTR_PRIMARY', 'CONSTR_UNIQUE'].includes(contype)) return [];
  const columns = column ? [column] : keys.map(stringOf);
  const kind = contype === 'CONSTR_PRIMARY' ? 'the primary key' : `unique (${columns.join(', ')})`;
  const name = conname ?? `${kind} of ${table}`;
  return [
    { line, name, table, columns, unique: true, method: 'btree', where: '', onlyWhereSet: undefined, includes: false },
  ];
}

function referenceOf({ contype, fk_attrs = [], line, table, column }: Placed): Reference[] {
  if (contype !== 'CONSTR_FOREIGN') return [];
  return [{ line, table, columns: column ? [column] : fk_attrs.map(stringOf) }];
}
