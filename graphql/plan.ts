import type {
  GraphQLEnumType,
  GraphQLFieldConfig,
  GraphQLInputType,
  GraphQLList,
  GraphQLOutputType,
  GraphQLScalarType,
} from 'graphql';
import type { Column } from '../functions/catalog.ts';

/** How values of a Postgres type are read, written and typed. */
export type Codec = {
  sqlName: string;
  output: GraphQLOutputType;
  /** Null where clients cannot pass such a value. */
  input: GraphQLScalarType | GraphQLEnumType | GraphQLList<GraphQLInputType> | null;
  /** A client's checked value as Postgres's text form. */
  encode(value: unknown): string;
  /** The SQL that gives the value as JSON, from the SQL that gives it in Postgres's own type. */
  toJson(sql: string): string;
  ordered: boolean;
  /** Set where the values are rows. */
  row?: Row;
  /** Set where the server has to finish the value. */
  finish?: 'sign' | 'deliver';
  /** Set where the server encrypts what a client gives, before Postgres sees it. */
  sealed?: true;
};

/** A type with columns: that of a table or view, or a composite type. */
export type Row = {
  /** The GraphQL type. */
  name: string;
  /** The row type, as it stands in a cast. */
  sqlName: string;
  columns: Column[];
  /** What tells rows apart; empty where nothing does. */
  key: string[];
  /** The order of connections unless a client asks for another. */
  order: Order[];
  codec(column: Column): Codec;
  /** The type of a column, as it stands in a cast; also where the API has none for it. */
  typeName(column: Column): string;
};

export type Order = { column: string; descending: boolean };

export type FunctionPlan = {
  sqlName: string;
  /** The columns of the row that a computed field belongs to are passed first. */
  ofRow?: Row;
  arguments: { name: string; apiName: string; codec: Codec; hasDefault: boolean; isVariadic: boolean }[];
  result:
    | { kind: 'void' }
    | { kind: 'value'; codec: Codec }
    | { kind: 'values'; codec: Codec }
    | { kind: 'row'; row: Row }
    | { kind: 'rows'; row: Row };
  /** Whether it stands in FROM as a set. */
  returnsSet: boolean;
  order: Order[];
  /** What a call costs, in rows. */
  cost: number;
  hash?: { argument: string; saltedBy?: { sqlName: string; arguments: string[] } };
  /** Of a subscription: the type of its events, and the function that gives the right to listen and the topics. */
  subscription?: { event: Row; listen: Pick<FunctionPlan, 'sqlName' | 'arguments'> };
  /** Whether what it gives is the same for whoever may have it. */
  shared: boolean;
  /** The topic of the events until which what it gives to callers without a token is the same. */
  keptUntil?: string;
  /** The function that is handed the calls of a second, as it stands in SQL. */
  gatheredBy?: string;
};

/** What a field of the schema is in SQL; it stands in the field's extensions. */
export type FieldPlan =
  | { kind: 'column'; column: Column; codec: Codec }
  | { kind: 'attribute'; column: Column; row: Row }
  | { kind: 'one'; table: string; row: Row; on: [string, string][]; shared: boolean }
  | { kind: 'key'; table: string; row: Row; columns: { name: string; apiName: string; codec: Codec }[] }
  | { kind: 'connection'; table: string; row: Row; on: [string, string][] }
  | { kind: 'function'; call: FunctionPlan; connection: boolean }
  | { kind: 'mutation'; call: FunctionPlan }
  | { kind: 'subscription'; call: FunctionPlan };

/** What an input field of a filter is in SQL. */
export type FilterPlan =
  | { kind: 'column'; column: Column; codec: Codec }
  | { kind: 'one'; table: string; on: [string, string][] }
  | { kind: 'many'; table: string; on: [string, string][] };

declare module 'graphql' {
  interface GraphQLFieldExtensions<_TSource, _TContext, _TArgs> {
    plan?: FieldPlan;
    /** What in the database it is, for messages. */
    object?: string;
  }
  interface GraphQLInputFieldExtensions {
    plan?: FilterPlan;
  }
}

export type Field = GraphQLFieldConfig<unknown, unknown>;
