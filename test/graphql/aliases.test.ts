import fc from 'fast-check';
import t from 'tap';
import { openWorld, schemaWith } from '../world.ts';

// Names that the compiler itself gives, or might.
const letters = fc.constantFrom(...'abcdefgijmnoprtx');
const ours = fc.oneof(
  letters,
  fc.tuple(letters, fc.integer({ min: 1, max: 9 })).map(([letter, number]) => `${letter}${number}`),
  fc.constantFrom('data', 'value', 'item', 'every', 'again', 'ordinality', 'result', 'id', 'name', 'things', 'box'),
);
const pair = fc.uniqueArray(ours, { minLength: 3, maxLength: 3 });

t.test('D9 an alias may be any name, those of the compiler too', async (t) => {
  const { ask, owner } = await openWorld(t, { schema: schemaWith('things') });
  await owner.query(
    "insert into things.boxes values (1, 'one', 'ann'), (2, 'two', null);" +
      "insert into things.things (id, text, int4, box_id) values (1, 'thing 1', 1, 2), (2, 'thing 2', 2, 1)",
  );
  const two = { id: 2, name: 'two' };
  const one = { id: 1, name: 'one' };

  await fc.assert(
    fc.asyncProperty(pair, async ([a = '', b = '', c = '']) => {
      const box = `{ ${b}: id ${c}: name }`;
      const keyed = ({ id, name }: typeof one) => ({ [b]: id, [c]: name });
      for (const [query, data] of [
        [
          `{ ${a}: thing(id: "1") { ${a}: box ${box} ${b}: text ${c}: boxOf ${box} } }`,
          () => ({ [a]: { [a]: keyed(two), [b]: 'thing 1', [c]: keyed(two) } }),
        ],
        [`{ ${a}: boxes(orderBy: ID_ASC) { ${b}: nodes ${box} } }`, () => ({ [a]: { [b]: [keyed(one), keyed(two)] } })],
        [
          `{ ${a}: things(orderBy: ID_ASC) { ${a}: nodes { ${a}: box ${box} } ${b}: totalCount ${c}: edges { ${a}: node { ${b}: text } } } }`,
          () => ({
            [a]: {
              [a]: [{ [a]: keyed(two) }, { [a]: keyed(one) }],
              [b]: 2,
              [c]: [{ [a]: { [b]: 'thing 1' } }, { [a]: { [b]: 'thing 2' } }],
            },
          }),
        ],
        [
          `mutation { ${a}: addThing(input: { thing: { text: "x", box_id: 1 } }) { ${b}: thing { ${c}: box ${box} } } }`,
          () => ({ [a]: { [b]: { [c]: keyed(one) } } }),
        ],
      ] as const) {
        const answer = await ask(query);
        if (JSON.stringify(answer) !== JSON.stringify({ data: data() }))
          throw new Error(`${query}\n${JSON.stringify(answer)}`);
        await owner.query('delete from things.things where id > 2');
      }
    }),
    { numRuns: 40, examples: [[['x', 'o', 'y']], [['x', 'p1', 'p2']]] },
  );
});
