import { type PassThrough, Readable } from 'node:stream';
import { ZipFile } from 'yazl';
import type { Column, Table, Value } from '../functions/contract-exports.ts';
import { startsFormula } from './text-tables.ts';

// An .xlsx file is a ZIP of XML. Written row by row, it takes no more memory for a million of them than for ten: strings stand in their
// cells, not in a table of their own.

/** The most that a sheet of Excel takes, the row of names among them. */
const mostRows = 1_048_576;
/** The most characters that a cell takes. */
const mostCharacters = 32_767;
/** How many rows are handed on at once: some 64 kB, so that the compressor is not called for each. */
const atOnce = 50;

/** What cells look like: places in cellXfs of styles.xml. */
const style = { plain: 0, header: 1, date: 2, sum: 3, number: 4, moment: 5, defused: 6 };
const styles = `<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><numFmts count="2"><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/><numFmt numFmtId="165" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/></numFmts><fonts count="2"><font><sz val="11"/><name val="Calibri"/></font><font><b/><sz val="11"/><color rgb="FFFFFFFF"/><name val="Calibri"/></font></fonts><fills count="3"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill><fill><patternFill patternType="solid"><fgColor rgb="FF1F4E78"/></patternFill></fill></fills><borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="7"><xf xfId="0"/><xf xfId="0" fontId="1" fillId="2" applyFont="1" applyFill="1"/><xf xfId="0" numFmtId="164" applyNumberFormat="1"/><xf xfId="0" numFmtId="4" applyNumberFormat="1"/><xf xfId="0" numFmtId="2" applyNumberFormat="1"/><xf xfId="0" numFmtId="165" applyNumberFormat="1"/><xf xfId="0" quotePrefix="1"/></cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>`;
const head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n';
const main = 'http://schemas.openxmlformats.org/spreadsheetml/2006/main';
const relations = 'http://schemas.openxmlformats.org/officeDocument/2006/relationships';

/**
 * Writes a table as a workbook: a sheet for each 1,048,575 rows, with a row of names that stays in sight and filters, and one that says
 * what the file is.
 *
 * @param name what the sheets are called; those after the first also have a number.
 * @param about what the last sheet says: a name and a value a row.
 * @param rowsPerSheet fewer than Excel takes, for tests.
 */
export function writeXlsx(
  { columns, total, pages }: Table,
  { name, about, rowsPerSheet = mostRows }: { name: string; about: [string, string][]; rowsPerSheet?: number },
): Readable {
  const zip = new ZipFile();
  const output = zip.outputStream as PassThrough;
  const rows = openRows(pages);
  const perSheet = rowsPerSheet - 1;
  const count = Math.max(1, Math.ceil(total / perSheet));
  const names = Array.from({ length: count }, (_, index) => (index === 0 ? name : `${name} ${index + 1}`));
  let source: Readable | undefined;
  const add = (path: string, content: () => Iterable<string> | AsyncIterable<string>): void =>
    zip.addReadStreamLazy(path, { compressionLevel: 3 }, (give) => {
      source = Readable.from(content(), { objectMode: false });
      source.on('error', (error) => output.destroy(error));
      give(null, source);
    });
  zip.on('error', (error: Error) => output.destroy(error));
  // Whoever takes the file may go away before its end.
  output.on('close', () => {
    source?.destroy();
    void rows.close();
  });

  for (const [index] of names.entries()) {
    const here = Math.min(perSheet, total - index * perSheet);
    add(`xl/worksheets/sheet${index + 1}.xml`, () => sheet(columns, rows, here));
  }
  add(`xl/worksheets/sheet${count + 1}.xml`, () => [aboutSheet(about)]);
  const filters = names.map(
    (each, index) =>
      `<definedName name="_xlnm._FilterDatabase" localSheetId="${index}" hidden="1">'${each}'!$A$1:$${letters(columns.length - 1)}$${Math.min(perSheet, total - index * perSheet) + 1}</definedName>`,
  );
  const all = [...names, 'About'];
  const sheets = all.map((each, index) => `<sheet name="${each}" sheetId="${index + 1}" r:id="rId${index + 1}"/>`);
  const parts: Record<string, string> = {
    'xl/styles.xml': styles,
    'xl/workbook.xml': `<workbook xmlns="${main}" xmlns:r="${relations}"><sheets>${sheets.join('')}</sheets><definedNames>${filters.join('')}</definedNames></workbook>`,
    'xl/_rels/workbook.xml.rels': related([
      ...all.map((_, index): [string, string] => ['worksheet', `worksheets/sheet${index + 1}.xml`]),
      ['styles', 'styles.xml'],
    ]),
    '_rels/.rels': related([['officeDocument', 'xl/workbook.xml']]),
    '[Content_Types].xml': contentTypes(all.length),
  };
  for (const [path, xml] of Object.entries(parts)) add(path, () => [head + xml]);
  zip.end();
  return output;
}

type Rows = { take(most: number): Promise<Value[][]>; close(): Promise<unknown> };

/** Gives the rows of pages some at a time; none after the last. */
function openRows(pages: AsyncGenerator<Value[][]>): Rows {
  let page: Value[][] = [];
  let at = 0;
  return {
    async take(most) {
      while (at >= page.length) {
        const { value, done } = await pages.next();
        if (done) return [];
        page = value;
        at = 0;
      }
      at += most;
      return page.slice(at - most, at);
    },
    close: () => pages.return(undefined),
  };
}

/** The next so many rows as a sheet. The rows go on where they were for the sheet that follows. */
async function* sheet(columns: Column[], rows: Rows, count: number): AsyncGenerator<string> {
  const widths = columns.map(
    ({ kind, name }, index) =>
      `<col min="${index + 1}" max="${index + 1}" width="${Math.max(name.length + 4, widthOf[kind])}" customWidth="1"/>`,
  );
  const corner = `${letters(columns.length - 1)}${count + 1}`;
  yield `${head}<worksheet xmlns="${main}"><dimension ref="A1:${corner}"/><sheetViews><sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><cols>${widths.join('')}</cols><sheetData>`;
  yield row(1, columns.map(({ name }, index) => textCell(`${letters(index)}1`, titleOf(name), style.header)).join(''));
  const places = columns.map((_, index) => letters(index));
  for (let done = 0; done < count; ) {
    const next = await rows.take(Math.min(atOnce, count - done));
    if (next.length === 0) throw new Error(`There are only ${done} rows of ${count}.`);
    let text = '';
    for (const values of next) {
      done += 1;
      const number = done + 1;
      let cells = '';
      for (const [index, { kind }] of columns.entries())
        cells += cell(`${places[index]}${number}`, kind, values[index] ?? null);
      text += row(number, cells);
    }
    yield text;
  }
  yield `</sheetData><autoFilter ref="A1:${corner}"/></worksheet>`;
}

const widthOf: Record<Column['kind'], number> = {
  text: 20,
  number: 12,
  sum: 18,
  integer: 12,
  date: 12,
  moment: 20,
  truth: 8,
};

function aboutSheet(about: [string, string][]): string {
  const rows = about.map(([name, value], index) =>
    row(
      index + 1,
      [
        textCell(`A${index + 1}`, name, style.header),
        textCell(`B${index + 1}`, value, startsFormula(value) ? style.defused : style.plain),
      ].join(''),
    ),
  );
  return `${head}<worksheet xmlns="${main}"><cols><col min="1" max="1" width="20" customWidth="1"/><col min="2" max="2" width="60" customWidth="1"/></cols><sheetData>${rows.join('')}</sheetData></worksheet>`;
}

const row = (number: number, cells: string): string => `<row r="${number}">${cells}</row>`;

function cell(place: string, kind: Column['kind'], value: Value): string {
  if (value === null) return '';
  switch (kind) {
    case 'text':
      return textCell(place, value, startsFormula(value) ? style.defused : style.plain);
    case 'sum':
      return `<c r="${place}" s="${style.sum}"><v>${value}</v></c>`;
    case 'number':
      return `<c r="${place}" s="${style.number}"><v>${value}</v></c>`;
    case 'integer':
      return `<c r="${place}"><v>${value}</v></c>`;
    case 'truth':
      return `<c r="${place}" t="b"><v>${value === 't' ? 1 : 0}</v></c>`;
    case 'date':
      return `<c r="${place}" s="${style.date}"><v>${serial(`${value}T00:00:00Z`)}</v></c>`;
    case 'moment':
      // 2024-01-31 12:00:00.5+00, as Postgres writes it in UTC.
      return `<c r="${place}" s="${style.moment}"><v>${serial(`${value.slice(0, -3).replace(' ', 'T')}Z`)}</v></c>`;
  }
}

/** The day of Excel's calendar, the time as its fraction. */
const serial = (time: string): number => Date.parse(time) / 86_400_000 + 25_569;

function textCell(place: string, text: string, look: number): string {
  const shown = text.length > mostCharacters ? `${text.slice(0, mostCharacters - 1)}…` : text;
  return `<c r="${place}" s="${look}" t="inlineStr"><is><t xml:space="preserve">${escaped(shown)}</t></is></c>`;
}

// What stands for something in XML, and what it cannot have.
const special = /[&<>\ufffe\uffff]|(?![\t\n])\p{Cc}|\p{Cs}|_(?=x[0-9a-fA-F]{4}_)/gu;
// `_x0041_` would be read as A.
const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', _: '_x005F_', '\r': '&#13;' };
const escaped = (text: string): string => text.replace(special, (found) => entities[found] ?? '\ufffd');

const titleOf = (name: string): string => name.charAt(0).toUpperCase() + name.slice(1).replaceAll('_', ' ');

/** A, B, …, Z, AA, … */
function letters(index: number): string {
  return (index >= 26 ? letters(Math.floor(index / 26) - 1) : '') + String.fromCharCode(65 + (index % 26));
}

function related(targets: [string, string][]): string {
  const each = targets.map(
    ([type, target], index) => `<Relationship Id="rId${index + 1}" Type="${relations}/${type}" Target="${target}"/>`,
  );
  return `<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">${each.join('')}</Relationships>`;
}

function contentTypes(sheets: number): string {
  const type = 'application/vnd.openxmlformats-officedocument.spreadsheetml';
  const each = Array.from(
    { length: sheets },
    (_, index) => `<Override PartName="/xl/worksheets/sheet${index + 1}.xml" ContentType="${type}.worksheet+xml"/>`,
  );
  return `<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="${type}.sheet.main+xml"/><Override PartName="/xl/styles.xml" ContentType="${type}.styles+xml"/>${each.join('')}</Types>`;
}
