/** Something in a schema file that is not as the conventions say. */
export type Finding = { line: number; rule: string; message: string };
