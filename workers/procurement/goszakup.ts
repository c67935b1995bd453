import type { Source, SourceRow, StagedRecord } from '../../functions/contract-imports.ts';

// What the unified services of goszakup.gov.kz (OWS v3, https://goszakup.gov.kz/ru/developer/ows_v3) say, in the words of
// procurement.staged_records. A contract names neither its region nor what was planned: those are its customer's, and its units' plans'.

export const goszakup: Source = { code: 'goszakup', name: 'goszakup.gov.kz, OWS v3', isLinked: true };

/** The registers that are read, with where they are. Units are no register of their own: those of a contract are below it. */
export const registers = {
  subjects: '/v3/subject/all',
  plans: '/v3/plans/all',
  contracts: '/v3/contract/all',
  units: undefined,
  acts: '/v3/acts',
  payments: '/v3/treasury-pay',
} as const;
export type Register = keyof typeof registers;

/** Where the units of a contract are. */
export const unitsOf = (contract: unknown): string | undefined => {
  const { id } = (contract ?? {}) as Item;
  return /^[1-9]\d{0,15}$/.test(`${id}`) ? `/v3/contract/${id}/units` : undefined;
};

type Item = Record<string, unknown>;
type Fields = Record<string, string | undefined>;

/** What the contracts of a year type are called here (ref_contract_year_type): for one year, or for several. */
const yearTypes: Record<string, string> = { '1': 'annual', '2': 'multi_year' };

const readers: Record<Register, (item: Item) => { kind: StagedRecord['kind']; fields: Fields }> = {
  subjects: (item) => ({
    kind: 'company',
    fields: {
      bin: text(item.bin) ?? text(item.iin),
      name: text(item.name_ru) ?? text(item.full_name_ru),
      ...placeOf(item.address),
    },
  }),
  plans: (item) => ({
    kind: 'plan',
    fields: {
      ref: text(item.id),
      fiscal_year: text(item.plan_fin_year) ?? text(item.pln_point_year),
      customer_bin: text(item.subject_biin),
      customer_name: text(item.subject_name_ru),
      category: text(item.ref_enstru_code),
      subject: text(item.name_ru),
      plan_sum: text(item.amount),
    },
  }),
  contracts: (item) => ({
    kind: 'contract',
    fields: {
      ref: text(item.id),
      root: known(item.root_id),
      parent: known(item.parent_id),
      version: versionOf(item),
      number: text(item.contract_number_sys),
      subject: text(item.description_ru),
      type: yearTypes[text(item.ref_contract_year_type_id) ?? ''] ?? 'standard',
      status: text(item.ref_contract_status_id),
      customer_bin: text(item.customer_bin),
      supplier_bin: text(item.supplier_biin),
      fiscal_year: known(item.fin_year),
      signed_on: day(item.sign_date),
      ends_on: day(item.ec_end_date),
      contract_sum: text(item.contract_sum),
      contract_sum_vat: text(item.contract_sum_wnds),
      actual_sum: text(item.fakt_sum),
      actual_sum_vat: text(item.fakt_sum_wnds),
    },
  }),
  units: (item) => ({
    kind: 'unit',
    fields: {
      ref: text(item.id),
      contract: known(item.contract_registry_id),
      plan: known(item.pln_point_id),
      quantity: text(item.quantity),
      unit_sum: text(item.item_price),
      total_sum: text(item.total_sum),
      total_sum_vat: text(item.total_sum_wnds),
    },
  }),
  acts: (item) => ({
    kind: 'act',
    fields: {
      ref: text(item.id),
      contract: known(item.contract_id),
      approved_on: day(item.approve_date),
      act_sum: text(item.sum_transfer),
    },
  }),
  payments: (item) => ({
    kind: 'payment',
    fields: {
      ref: text(item.id),
      contract: known(item.contract_id),
      paid_on: day(item.pay_date),
      paid_sum: text(item.pay_amount),
      is_advance: Number(item.prepay_sum) > 0 ? 'true' : undefined,
    },
  }),
};

/** The record of an item of a register, or why it gives none. */
export function readItem(register: Register, item: unknown, line: number): SourceRow {
  if (typeof item !== 'object' || item === null || Array.isArray(item)) return { line, reason: 'It is no object.' };
  const { deleted, is_deleted } = item as Item;
  if (Number(deleted ?? is_deleted) === 1) return { line, reason: 'It was deleted at the source.' };
  const { kind, fields } = readers[register](item as Item);
  const told = Object.entries(fields).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return { line, records: [{ kind, record: Object.fromEntries(told) }] };
}

/** What is told, as text. JSON has BINs as text: their leading zeros count. NUL no text may have. */
function text(value: unknown): string | undefined {
  if (typeof value !== 'string' && typeof value !== 'number') return undefined;
  return `${value}`.replaceAll('\0', '').trim() || undefined;
}

/** An id, or a year: 0 stands for none. */
const known = (value: unknown): string | undefined => (Number(value) === 0 ? undefined : text(value));

/** The day of a time such as `2018-01-08 10:03:16`. */
const day = (value: unknown): string | undefined => text(value)?.split(/[ T]/)[0];

/** By the end of its number in the system, `…/160089/00`: how many amendments came before. */
function versionOf({ contract_number_sys, root_id, id }: Item): string {
  const [, count] = /\/(\d{1,5})$/.exec(text(contract_number_sys) ?? '') ?? [];
  if (count !== undefined) return `${Number(count) + 1}`;
  return known(root_id) === undefined || text(root_id) === text(id) ? '1' : '2';
}

/** The newest of the addresses of a company; its region by the first two digits of KATO, which are those of ISO 3166-2. */
function placeOf(addresses: unknown): Fields {
  if (!Array.isArray(addresses)) return {};
  const [newest] = (addresses as Item[]).toSorted((one, other) =>
    `${other?.edit_date}`.localeCompare(`${one?.edit_date}`),
  );
  const kato = text(newest?.kato_code);
  return { address: text(newest?.address), region: kato && /^\d{2}/.test(kato) ? `KZ-${kato.slice(0, 2)}` : undefined };
}
