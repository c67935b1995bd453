import assert from 'node:assert';
import type { Case } from './cases.ts';
import type { System } from './systems.ts';

/**
 * Asks every system for every case, and compares what they answer: the same content, whatever the form.
 *
 * @throws AssertionError that shows where two differ.
 */
export async function checkSame(systems: System[], cases: Case[]): Promise<void> {
  for (const [place, each] of cases.entries()) {
    const answers = await Promise.all(systems.map((system) => answersOf(system, each, place)));
    for (const [index, answer] of answers.entries()) {
      const names = `${systems[index]?.name} and ${systems[0]?.name} answer differently: ${each.name}`;
      assert.deepStrictEqual(answer, answers[0], names);
    }
  }
}

async function answersOf({ port, requests }: System, of: Case, place: number): Promise<unknown[]> {
  const answers: unknown[] = [];
  for (const { path, body, token } of await requests(of, place)) {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json', authorization: `Bearer ${token}` },
      body,
    });
    answers.push(plain(await response.json()));
  }
  return answers;
}

/** Times as milliseconds, enums and 64-bit numbers in one form, a list of one value as that value. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'string') return /^\d{4}-\d\d-\d\dT/.test(value) ? Date.parse(value) : value;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      if (key === 'unread') return [key, typeof inner === 'object' ? (inner?.nodes[0] ?? null) : inner];
      if (key === 'kind') return [key, String(inner).toLowerCase()];
      return [key, plain(inner)];
    }),
  );
}
