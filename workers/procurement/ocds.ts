import type { Source, SourceRow, StagedRecord } from '../../functions/contract-imports.ts';
import { tenderOf } from './ocds-tenders.ts';
import { binOf, day, isThing, list, partyOf, recordOf, regionOf, type Thing, text, thing } from './ocds-values.ts';

// Releases and records of the Open Contracting Data Standard 1.1 (https://standard.open-contracting.org/1.1/en/schema/reference/), in the
// words of procurement.staged_records. A record that has its releases tells of each version; a compiled release has lost the first sum.

/** @param code what the publisher is called here. */
export const ocds = (code: string): Source => ({ code, binPattern: '^[0-9A-Za-z-]{1,30}$' });

/** Statuses of contracts (contractStatus of OCDS) as those of procurement.contract_statuses. */
const statuses: Record<string, string> = { pending: '185', active: '190', cancelled: '330', terminated: '390' };

/** The records of a release, of a record, or why it gives none. */
export function readRelease(value: unknown, line: number): SourceRow {
  if (!isThing(value)) return { line, reason: 'It is no object.' };
  const releases = list(value.releases).filter((each) => each.tag !== undefined || each.contracts !== undefined);
  const compiled = isThing(value.compiledRelease) ? [value.compiledRelease] : [];
  const told =
    releases.length > 0 ? releases : value.releases !== undefined || compiled.length > 0 ? compiled : [value];
  const ocid = text(value.ocid) ?? text(told[0]?.ocid);
  if (!ocid) return { line, reason: 'It has no ocid.' };
  if (told.length === 0) return { line, reason: 'It only links to its releases, and has no compiled one.' };
  const inOrder = told.toSorted((one, other) => `${text(one.date)}`.localeCompare(`${text(other.date)}`));
  return { line, records: [...versionsOf(ocid, inOrder)] };
}

/**
 * A version for each release in which a contract is not as it was in the one before. What was paid is of the whole contract, and grows without
 * its being changed: it stands in the last version alone.
 */
function* versionsOf(ocid: string, releases: Thing[]): Generator<StagedRecord> {
  const before = new Map<string, { said: string; version: number; ref: string; told: StagedRecord }>();
  const companies = new Map<string, StagedRecord>();
  for (const release of releases) {
    for (const company of companiesOf(release)) companies.set(company.record.bin as string, company);
    yield* tenderOf(ocid, release);
    const contracts = list(release.contracts);
    for (const contract of contracts) {
      const id = text(contract.id);
      if (!id) {
        yield recordOf('contract', { subject: text(contract.title) });
        continue;
      }
      const root = `${ocid}/${id}`;
      const { actual_sum: paid, ...fields } = contractFields(release, contract, contracts.length);
      const said = JSON.stringify(fields);
      const last = before.get(root);
      if (last?.said === said) {
        last.told = recordOf('contract', { ...last.told.record, actual_sum: paid });
      } else {
        if (last) yield recordOf('contract', { ...last.told.record, actual_sum: undefined });
        const isLater = last !== undefined || (releases.length === 1 && isAmendment(release));
        const version = last ? last.version + 1 : isLater ? laterVersion(release, contract) : 1;
        const ref = isLater ? `${root}@${text(release.id) ?? version}` : root;
        const parent = last?.ref ?? (isLater ? root : undefined);
        const told = recordOf('contract', { ref, root, parent, version: `${version}`, ...fields, actual_sum: paid });
        before.set(root, { said, version, ref, told });
      }
      yield* partsOf(root, contract);
    }
  }
  for (const { told } of before.values()) yield told;
  yield* companies.values();
}

/** A release by itself that says that a contract was changed is never its first version. */
const isAmendment = ({ tag }: Thing): boolean =>
  Array.isArray(tag) &&
  tag.some((each) => each === 'contractAmendment' || each === 'contractUpdate' || each === 'contractTermination');

/** By its amendments; where they are not told, by the day: later is higher, in whatever order releases come. */
function laterVersion({ date }: Thing, { amendments }: Thing): number {
  const count = list(amendments).length;
  if (count > 0) return count + 1;
  const days = Math.floor(Date.parse(`${text(date)}`) / 86_400_000);
  return days > 1 ? days : 2;
}

function contractFields(release: Thing, contract: Thing, siblings: number): Record<string, string | undefined> {
  const award = list(release.awards).find(({ id }) => text(id) !== undefined && text(id) === text(contract.awardID));
  const buyer = thing(release.buyer) ?? thing(thing(release.tender)?.procuringEntity);
  const suppliers = list(contract.suppliers ?? award?.suppliers);
  const value = thing(contract.value) ?? thing(award?.value);
  const plan = planned(release, award, siblings);
  const category = thing(list(contract.items ?? award?.items)[0]?.classification);
  const signed = day(contract.dateSigned) ?? day(award?.date) ?? day(thing(contract.period)?.startDate);
  const place = regionOf(partyOf(release, buyer));
  return {
    number: text(contract.id)?.slice(0, 200),
    subject: (
      text(contract.title) ??
      text(contract.description) ??
      text(award?.title) ??
      text(thing(release.tender)?.title)
    )?.slice(0, 10_000),
    category: text(category?.id),
    type: 'standard',
    status: statuses[text(contract.status) ?? 'active'] ?? text(contract.status),
    ...place,
    customer_bin: binOf(release, buyer),
    customer_name: text(buyer?.name),
    supplier_bin: suppliers.length === 1 ? binOf(release, suppliers[0]) : undefined,
    supplier_name: suppliers.length === 1 ? text(suppliers[0]?.name) : undefined,
    fiscal_year: (signed ?? day(release.date))?.slice(0, 4),
    signed_on: signed,
    starts_on: day(thing(contract.period)?.startDate),
    ends_on: day(thing(contract.period)?.endDate),
    plan_sum: plan?.currency === value?.currency ? text(plan?.amount) : undefined,
    contract_sum: text(value?.amount),
    actual_sum: paidSum(contract),
  };
}

/** What was planned: of the lots that were awarded, or of the whole where there is but one contract. Nothing where it cannot be told. */
function planned(release: Thing, award: Thing | undefined, siblings: number): Thing | undefined {
  const tender = thing(release.tender);
  const related = new Set(Array.isArray(award?.relatedLots) ? award.relatedLots.map(text) : []);
  const lots = list(tender?.lots).filter(({ id }) => related.has(text(id)));
  const values = lots.map(({ value }) => thing(value));
  if (lots.length > 0 && lots.length === related.size && values.every((value) => typeof value?.amount === 'number')) {
    const amount = values.reduce((sum, value) => sum + (value?.amount as number), 0);
    return { amount: Number(amount.toFixed(4)), currency: values[0]?.currency };
  }
  if (siblings !== 1) return undefined;
  return thing(tender?.value) ?? thing(thing(thing(release.planning)?.budget)?.amount);
}

function* partsOf(root: string, contract: Thing): Generator<StagedRecord> {
  for (const item of list(contract.items)) {
    yield recordOf('unit', {
      ref: join(root, text(item.id)),
      contract: root,
      name: text(item.description),
      quantity: text(item.quantity),
      unit_sum: text(thing(thing(item.unit)?.value)?.amount),
    });
  }
  for (const payment of list(thing(contract.implementation)?.transactions)) {
    yield recordOf('payment', {
      ref: join(root, text(payment.id)),
      contract: root,
      paid_on: day(payment.date),
      paid_sum: text((thing(payment.value) ?? thing(payment.amount))?.amount),
    });
  }
}

const join = (root: string, id: string | undefined): string | undefined => id && `${root}/${id}`;

/** What was paid by now; 0 where transactions are told of and there are none. */
function paidSum(contract: Thing): string | undefined {
  const transactions = thing(contract.implementation)?.transactions;
  if (transactions === undefined) return undefined;
  const sums = list(transactions).map(({ value, amount }) => Number((thing(value) ?? thing(amount))?.amount));
  const sum = sums.reduce((before, each) => before + each, 0);
  return Number.isFinite(sum) ? `${Number(sum.toFixed(4))}` : undefined;
}

function* companiesOf(release: Thing): Generator<StagedRecord> {
  for (const party of list(release.parties)) {
    const bin = binOf(release, party);
    if (!bin) continue;
    const address = thing(party.address);
    const street = [address?.streetAddress, address?.locality].map(text).filter(Boolean).join(', ');
    yield recordOf('company', {
      bin,
      name: text(party.name),
      ...regionOf(party),
      address: street || undefined,
      head: text(thing(party.contactPoint)?.name),
    });
  }
}
