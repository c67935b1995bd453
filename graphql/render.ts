import type { GraphQLFormattedError, VariableValues } from 'graphql';
import type { CompiledSubscription } from './compile-subscription.ts';
import { type Asked, callOf, type Engine } from './execute.ts';
import type { Numbered } from './replay.ts';

/** What a subscription sends: the JSON text of a result, and the cursor of its event. */
export type Sent = {
  text: string;
  cursor: string | null;
  /** The text as each transport writes it, made once for all listeners. */
  framed: Map<string, Buffer>;
};

/** What is sent for events, in their order; an event that the subscription leaves out is not in it. */
export type Rendered = Map<Numbered, Sent>;

/** A subscription with the variables that it was asked with. */
export type Rendering = { compiled: CompiledSubscription; values: VariableValues };

// How many rows one statement may read for all its events together, as an operation by default.
const mostRows = 20_000;

/**
 * Reads what is sent for events, as one who listens. The right is asked for after it: who has lost it meanwhile is shown less than others,
 * and what Postgres hides from one must not be left out for all.
 *
 * @param most the largest result, in bytes.
 * @param topic the topic of all the events, where others are sent what is rendered: the right has to be to that one.
 * @throws PipelineError; isRefusal tells whether it is the right that is missing. Error where the right is to other topics.
 */
export async function render(
  { requests }: Pick<Engine, 'requests'>,
  { compiled, values }: Rendering,
  events: Numbered[],
  asked: Asked,
  most: number,
  topic?: string,
): Promise<Rendered> {
  const rendered: Rendered = new Map();
  for (const some of piecesOf(events, compiled)) {
    const call = callOf(compiled.selection, values);
    call.values[0] = JSON.stringify(some.map(({ event, cursor }) => ({ ...event, cursor })));
    call.values[1] = String(most);
    const calls = [call, callOf(compiled.listen, values)];
    const [rows = [], rights = []] = await requests.run(asked.caller, calls, {
      readOnly: true,
      share: 'listeners',
      operation: 'subscriptions',
    });
    if (topic && !rights.some(([right]) => right === topic)) throw new Error(`The right to ${topic} is gone.`);
    for (const [position, json] of rows) {
      const numbered = some[Number(position) - 1] as Numbered;
      const text = json === null || json === undefined ? tooLarge(numbered, most) : `{"data":${json}}`;
      rendered.set(numbered, sentOf(text, numbered));
    }
  }
  return rendered;
}

/** Events in pieces that one statement may render: the more rows each may read, the fewer. */
export function piecesOf(events: Numbered[], { cost }: Pick<CompiledSubscription, 'cost'>): Numbered[][] {
  const atOnce = Math.max(1, Math.floor(mostRows / Math.max(1, cost)));
  const count = Math.ceil(events.length / atOnce);
  return Array.from({ length: count }, (_, index) => events.slice(index * atOnce, (index + 1) * atOnce));
}

/** Tells of each event that it cannot be shown. */
export function failed(events: Numbered[], errors: GraphQLFormattedError[]): Rendered {
  return new Map(events.map((each) => [each, sentOf(JSON.stringify({ errors, data: null }), each)]));
}

function sentOf(text: string, { cursor }: Numbered): Sent {
  return { text, cursor, framed: new Map() };
}

function tooLarge({ cursor }: Numbered, most: number): string {
  const message = `What was selected of an event is larger than ${most} bytes: fetch it by its id.`;
  return JSON.stringify({ errors: [{ message, extensions: { code: 'LIMIT_EXCEEDED', cursor } }], data: null });
}

/** Whether render failed because the caller may not listen: their session has ended, the right was refused, or nobody may. */
export function isRefusal(error: unknown): boolean {
  const { code = '', at } = error as { code?: string; at?: number };
  return (at === -1 || at === 1) && /^PT(4|503)/.test(code);
}
