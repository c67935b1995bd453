import { setImmediate as turn } from 'node:timers/promises';
import { readXlsx } from 'hucre/xlsx';
import t from 'tap';
import type { Column, Table, Value } from '../../functions/contract-exports.ts';
import { writeXlsx } from '../../workers/xlsx.ts';

const columns: Column[] = [
  { name: 'row_number', kind: 'integer' },
  { name: 'text', kind: 'text' },
];
function tableOf(rows: Value[][], perPage = 2): Table {
  async function* pages() {
    for (let at = 0; at < rows.length; at += perPage) yield rows.slice(at, at + perPage);
  }
  return { columns, total: rows.length, pages: pages() };
}
const about: [string, string][] = [['What', 'a test']];
async function read(table: Table, rowsPerSheet?: number) {
  const output = writeXlsx(table, { name: 'Rows', about, ...(rowsPerSheet && { rowsPerSheet }) });
  return readXlsx(new Uint8Array(Buffer.concat(await output.toArray())), { readStyles: true });
}

t.test('D4: what does not fit into a sheet goes on in the next, each with its names and filters', async (t) => {
  const rows = Array.from({ length: 7 }, (_, n) => [`${n}`, `row ${n}`]);
  const { sheets } = await read(tableOf(rows), 4);
  t.strictSame(
    sheets.map(({ name, rows: all, autoFilter }) => [name, all.length, autoFilter?.range]),
    [
      ['Rows', 4, 'A1:B4'],
      ['Rows 2', 4, 'A1:B4'],
      ['Rows 3', 2, 'A1:B2'],
      ['About', 1, undefined],
    ],
  );
  t.strictSame(sheets[1]?.rows[0], ['Row number', 'Text']);
  t.strictSame(
    sheets.slice(0, 3).flatMap(({ rows: all }) => all.slice(1).map(([number]) => number)),
    [0, 1, 2, 3, 4, 5, 6],
  );
});

t.test('a table without rows is a sheet with names', async (t) => {
  const { sheets } = await read(tableOf([]));
  t.strictSame(sheets[0]?.rows, [['Row number', 'Text']]);
});

t.test('any text comes back as it was, but for what XML or Excel cannot have', async (t) => {
  const texts = ['<a href="x">&amp;</a>', ' two\nlines\t', '=1+1', '_x0041_ stays', '😀 Қазақстан', 'a\r\nb'];
  const { sheets } = await read(tableOf(texts.map((text, n) => [`${n}`, text])));
  t.strictSame(
    sheets[0]?.rows.slice(1).map(([, text]) => text),
    texts,
  );
  t.ok([...(sheets[0]?.cells?.values() ?? [])].every(({ formula }) => formula === undefined));
  const odd = await read(
    tableOf([
      ['1', `a\u0000b\ud800c`],
      ['2', 'x'.repeat(40_000)],
      ['3', null],
    ]),
  );
  t.strictSame(odd.sheets[0]?.rows[1]?.[1], 'a\ufffdb\ufffdc');
  t.equal(`${odd.sheets[0]?.rows[2]?.[1]}`.length, 32_767);
});

t.test('rows are read as the file is taken, and no more when nobody takes it', async (t) => {
  let read = 0;
  let ended = false;
  async function* pages(): AsyncGenerator<Value[][]> {
    try {
      for (; read < 5_000_000; read += 1000)
        yield Array.from({ length: 1000 }, (_, n) => [
          `${n}`,
          `text that does not repeat ${read * n} ${Math.random()}`,
        ]);
    } finally {
      ended = true;
    }
  }
  const output = writeXlsx({ columns, total: 5_000_000, pages: pages() }, { name: 'Rows', about });
  output.read(0);
  let before = -1;
  for (let still = 0; still < 200; ) {
    await turn();
    still = read === before ? still + 1 : 0;
    before = read;
  }
  t.ok(read < 200_000, `${read} rows were read ahead`);
  output.destroy();
  while (!ended) await turn();
  t.pass('and the reading ends with the writing');
});

t.test('an error of the rows is an error of the file', async (t) => {
  async function* pages(): AsyncGenerator<Value[][]> {
    yield [['1', 'one']];
    throw new Error('the connection was lost');
  }
  const output = writeXlsx({ columns, total: 2, pages: pages() }, { name: 'Rows', about });
  await t.rejects(output.toArray(), /the connection was lost/);
});
