/** Who may do what in one schema: every object of it, declared. An object that is not named fails the tests. */
export type Section = {
  /** Who may name what is in it. Nobody but the owner makes anything there. */
  users: string[];
  /** Tables and views: who reads which columns. Nobody writes one: only functions do. */
  tables: Record<string, { readers: string[]; columns: string }>;
  /** Functions that someone may call. */
  functions: Record<string, string[]>;
  /** Functions that only other functions call. */
  privateFunctions: string[];
};
