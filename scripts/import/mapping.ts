import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { recordKinds, type StagedRecord } from '../../functions/contract-imports.ts';
import { Refusal } from '../../functions/refusal.ts';

// A mapping file says how the columns of a CSV file read as records of procurement (docs/procurement.md).

const mapping = z.strictObject({
  source: z.strictObject({
    code: z.string().regex(/^[a-z][a-z0-9-]{0,30}$/),
    name: z.string().optional(),
    namesCompanies: z.boolean().optional(),
    binPattern: z.string().optional(),
  }),
  csv: z
    .strictObject({
      delimiter: z.string().length(1).default(','),
      encoding: z.enum(['utf8', 'utf16le', 'latin1']).default('utf8'),
    })
    .default({ delimiter: ',', encoding: 'utf8' }),
  /** What stands for a value that is not known. */
  missing: z.array(z.string()).default([]),
  /** The order in which a date has its day, month and year; its parts may be parted by anything. */
  dates: z.enum(['YYYY-MM-DD', 'DD-MM-YYYY', 'MM-DD-YYYY']).default('YYYY-MM-DD'),
  decimal: z.enum(['.', ',']).default('.'),
  /** What each row gives: a field is text in which {Column} stands for a value; without that value it is left out. */
  records: z
    .array(z.strictObject({ kind: z.enum(recordKinds), fields: z.record(z.string(), z.string()) }))
    .min(1)
    .max(20),
});
export type Mapping = z.output<typeof mapping>;

/** @throws Refusal where the file cannot be read, or is no mapping. */
export function readMapping(file: string): Mapping {
  const remedy = 'docs/procurement.md tells what stands in it.';
  try {
    return mapping.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (cause) {
    const problem = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message;
    throw new Refusal(`${file} is not a mapping: ${problem}`, { remedy, cause });
  }
}

const column = /\{([^{}]+)\}/g;

/** The columns that a mapping names. */
export function columnsOf({ records }: Mapping): Set<string> {
  const templates = records.flatMap(({ fields }) => Object.values(fields));
  return new Set(templates.flatMap((template) => [...template.matchAll(column)].map(([, name = '']) => name)));
}

/** The records of a row, by the values of its columns. */
export function recordsOf({ records, missing, dates, decimal }: Mapping, row: Record<string, string>): StagedRecord[] {
  const told = (name: string): string | undefined => {
    const value = row[name]?.trim();
    return value === undefined || value === '' || missing.includes(value) ? undefined : value;
  };
  return records.map(({ kind, fields }) => {
    const record: Record<string, string> = {};
    for (const [field, template] of Object.entries(fields)) {
      const values = [...template.matchAll(column)].map(([, name = '']) => told(name));
      if (values.includes(undefined)) continue;
      const text = template.replaceAll(column, (_, name) => told(name) ?? '');
      if (field.endsWith('_on')) record[field] = asDate(text, dates);
      else record[field] = isNumber(field) && decimal === ',' ? text.replace(',', '.') : text;
    }
    return { kind, record };
  });
}

const isNumber = (field: string): boolean => /(_sum|_vat|^quantity)$/.test(field);

/** The form that SQL takes; what has not three parts stays as it is, and SQL says what is wrong with it. */
function asDate(text: string, order: Mapping['dates']): string {
  const names = order.split('-');
  const parts = /^(\d{1,4})[^\d](\d{1,2})[^\d](\d{1,4})(?!\d)/.exec(text)?.slice(1);
  if (!parts) return text;
  const part = (name: string): string => parts[names.indexOf(name)] ?? '';
  return `${part('YYYY')}-${part('MM').padStart(2, '0')}-${part('DD').padStart(2, '0')}`;
}
