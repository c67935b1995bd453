/** A stretch of time in the trace of a request. Nothing is traced where there is none. */
export type Span = {
  /** Begins a stretch within this one. */
  child(name: string, attributes?: Record<string, string | number>): Span;
  /** Notes something that is known only now. */
  note(attributes: Record<string, string | number>): void;
  /** Ends it; as failed where there is an error. Of an error no message is kept: it may hold what someone wrote. */
  end(error?: unknown): void;
};
