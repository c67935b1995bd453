import type { StagedRecord } from '../../functions/contract-imports.ts';
import { binOf, day, list, partyOf, recordOf, regionOf, type Thing, text, thing } from './ocds-values.ts';

// What a release tells of a tender: its notice, the bids (by the extension https://extensions.open-contracting.org/en/extensions/bids/)
// and the awards. Later releases add to it (procurement._merge_parts).

/** The records of the tender of a release: none where it tells of none. */
export function* tenderOf(ocid: string, release: Thing): Generator<StagedRecord> {
  const told_at = text(release.date);
  const tender = thing(release.tender);
  if (tender) yield recordOf('tender', { ref: ocid, told_at, ...noticeOf(release, tender) });
  for (const bid of list(thing(release.bids)?.details)) {
    yield recordOf('bid', {
      ref: within(ocid, bid.id),
      tender: ocid,
      told_at,
      tenderers: binsOf(release, bid.tenderers),
      bid_sum: text(thing(bid.value)?.amount),
      currency: text(thing(bid.value)?.currency),
      status: text(bid.status),
      submitted_at: text(bid.date),
    });
  }
  for (const award of list(release.awards)) {
    const classes = list(award.items).map(({ classification }) =>
      text(thing(classification)?.id)?.replace(/\s+/g, '-'),
    );
    yield recordOf('award', {
      ref: within(ocid, award.id),
      tender: ocid,
      told_at,
      suppliers: binsOf(release, award.suppliers),
      award_sum: text(thing(award.value)?.amount),
      currency: text(thing(award.value)?.currency),
      status: text(award.status),
      awarded_on: day(award.date),
      classifications: [...new Set(classes.filter(Boolean))].join(' ') || undefined,
    });
  }
}

function noticeOf(release: Thing, tender: Thing): Record<string, string | undefined> {
  const buyer = thing(release.buyer) ?? thing(tender.procuringEntity);
  const period = thing(tender.tenderPeriod);
  return {
    title: (text(tender.title) ?? text(tender.description))?.slice(0, 10_000),
    method: text(tender.procurementMethod),
    method_details: text(tender.procurementMethodDetails)?.slice(0, 500),
    award_criteria: text(tender.awardCriteria),
    status: text(tender.status),
    customer_bin: binOf(release, buyer),
    customer_name: text(buyer?.name),
    ...regionOf(partyOf(release, buyer)),
    tender_sum: text(thing(tender.value)?.amount),
    currency: text(thing(tender.value)?.currency),
    starts_at: text(period?.startDate),
    ends_at: text(period?.endDate),
    tenderer_count: text(tender.numberOfTenderers),
  };
}

/** Who bids or wins together, by their BINs parted by spaces; nothing where one of them cannot be told. */
function binsOf(release: Thing, named: unknown): string | undefined {
  const bins = list(named).map((each) => binOf(release, each));
  return bins.every(Boolean) ? bins.join(' ') || undefined : undefined;
}

const within = (ocid: string, id: unknown): string | undefined => text(id) && `${ocid}/${text(id)}`;
