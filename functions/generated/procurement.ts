// Made from schema.sql by `npm run generate`.
import { mutation, query } from '../callers.ts';
import { arrayOf, keyOf, oneOf, optional, orNull, pg, row, setOf, type ValueOf } from '../kinds.ts';
import { Export } from './accounts.ts';

/** A contract, or a version of one. */
export const Contract = row('procurement.contracts', {
  /** The key, with the year. */
  id: pg.uuid,
  /** The year whose budget pays. */
  fiscalYear: pg.int4,
  /** Where it was imported from. */
  sourceCode: pg.text,
  /** What the source calls it. */
  sourceRef: pg.text,
  /** Its first version; its own id where that is this one. */
  rootId: pg.uuid,
  /** The version before; null for the first. */
  parentId: orNull(pg.uuid),
  /** Its number among the versions, from 1. */
  version: pg.int4,
  /** The number of the contract; null where not told. */
  number: orNull(pg.text),
  /** What is bought; null where not told. */
  subject: orNull(pg.text),
  /** The class of what is bought, such as a CPV code. */
  category: orNull(pg.text),
  /** Its type. */
  typeCode: pg.text,
  /** Its status. */
  statusCode: pg.int4,
  /** Its region; null where not told: then analysts do not see it. */
  regionCode: orNull(pg.text),
  /** The plan that it carries out; null where not told. */
  planId: orNull(pg.uuid),
  /** Who buys; null where not told. */
  customerBin: orNull(pg.text),
  /** Who sells; null where not told. */
  supplierBin: orNull(pg.text),
  /** When it was signed; null where not told. */
  signedOn: orNull(pg.date),
  /** When it begins; null where not told. */
  startsOn: orNull(pg.date),
  /** When it ends; null where not told. */
  endsOn: orNull(pg.date),
  /** Whether an advance payment was agreed. */
  hasAdvance: pg.bool,
  /** What was planned, without VAT; null where not told. */
  planSum: orNull(pg.numeric),
  /** What was planned, with VAT; null where not told. */
  planSumVat: orNull(pg.numeric),
  /** What was agreed, without VAT; null where not told. */
  contractSum: orNull(pg.numeric),
  /** What was agreed, with VAT; null where not told. */
  contractSumVat: orNull(pg.numeric),
  /** What was executed, without VAT; 0 until something is, null where not told. */
  actualSum: orNull(pg.numeric),
  /** What was executed, with VAT; 0 until something is, null where not told. */
  actualSumVat: orNull(pg.numeric),
  /** When something was first paid, advances left out; of a first version, for any of its versions. */
  firstPaidOn: orNull(pg.date),
  /**
   * By how many percent the agreed sum is below the planned one, (P − C) · 100 / P, both without VAT or both with; null
   * where they are not both known and over zero.
   */
  discount: orNull(pg.float8),
  /** Whether it is the first version. */
  isRoot: pg.bool,
});
export type Contract = ValueOf<typeof Contract>;

/** That something of a contract was done and taken over. */
export const ContractAct = row('procurement.contract_acts', {
  /** The key. */
  id: pg.uuid,
  /** The contract, by its id: it may not have come yet. */
  contractId: pg.uuid,
  /** What the source calls it. */
  sourceRef: pg.text,
  /** When it was approved; null where not told. */
  approvedOn: orNull(pg.date),
  /** For how much; null where not told. */
  actSum: orNull(pg.numeric),
});
export type ContractAct = ValueOf<typeof ContractAct>;

/**
 * How probable it is, from what is known when a contract is signed, that later versions raise its sum by more than
 * over_percent: by logistic regression. It says nothing of why, and nothing against anyone; it must not decide about a
 * contract or a company.
 */
export const GrowthModel = row('procurement.growth_models', {
  /** The key. */
  id: pg.int8,
  /** By how much a sum has grown that counts as grown. */
  overPercent: pg.float8,
  /** The regions whose contracts it knows; null for all. Who may not see all of them may not see it, nor its forecasts. */
  regionCodes: orNull(arrayOf(pg.text)),
  /** What it looks at (`growthFeatures`). */
  features: arrayOf(pg.text),
  /** The mean of each in what it was trained on. */
  means: arrayOf(pg.float8),
  /** The standard deviation of each. */
  deviations: arrayOf(pg.float8),
  /** The intercept, and what a standard deviation of each feature adds to the log-odds. */
  coefficients: arrayOf(pg.float8),
  /** The weight of the squared coefficients (ridge). */
  penalty: pg.float8,
  /** How many rounds of Newton's method it took. */
  rounds: pg.int4,
  /** Whether nothing moved any more. */
  isSettled: pg.bool,
  /** It was trained on contracts signed before this day, and tested on those signed since. */
  splitOn: pg.date,
  /** How many contracts it was trained on. */
  trained: pg.int8,
  /** How many of these have grown. */
  trainedGrown: pg.int8,
  /** How many contracts it was tested on. */
  tested: pg.int8,
  /** How many of these have grown. */
  testedGrown: pg.int8,
  /** In the test: how probable it is that one that grew was given more than one that did not; 0.5 is a coin. */
  auc: pg.float8,
  /** In the test: the mean squared difference between what was forecast and what came (Brier); 0 is perfect. */
  brier: pg.float8,
  /** The same of a forecast that says of each contract how many had grown in the training. */
  baseRateBrier: pg.float8,
  /** The test by tenths, lowest forecasts first: contracts, what was forecast on the average, and how many grew. */
  calibration: pg.jsonb,
  /** Whether in the test it was better than the base rate, and than a coin by more than chance (two-sided, 5 %). */
  isOfUse: pg.bool,
  /** When. */
  trainedAt: pg.timestamptz,
  /** Since when it forecasts; null where it does not. */
  adoptedAt: orNull(pg.timestamptz),
});
export type GrowthModel = ValueOf<typeof GrowthModel>;

/** What was imported, and how far: what was stopped goes on there. */
export const Import = row('procurement.imports', {
  /** The key. */
  id: pg.int8,
  /** The source. */
  sourceCode: pg.text,
  /** The file, or the address. */
  name: pg.text,
  /** What tells one file and its mapping from another. */
  fingerprint: pg.text,
  /** How many of its rows (or pages) are done. */
  position: pg.int8,
  /** What the source calls the place of its next page. */
  cursor: orNull(pg.text),
  /** Records that were new. */
  added: pg.int8,
  /** Records that changed what was known. */
  changed: pg.int8,
  /** Records that said what was known. */
  known: pg.int8,
  /** Records that were not taken. */
  rejected: pg.int8,
  /** When it began. */
  startedAt: pg.timestamptz,
  /** When it was done; null while it is not. */
  finishedAt: orNull(pg.timestamptz),
});
export type Import = ValueOf<typeof Import>;

/** What an indicator says of a contract: remarkable, not remarkable, or that what it needs to know is missing. */
export const Outcome = oneOf('procurement.outcome', ['flagged', 'clear', 'not_computable']);
export type Outcome = ValueOf<typeof Outcome>;

/**
 * What an indicator says of a contract, of a tender, or of a customer and a supplier or one of them, since its last
 * run.
 */
export const Finding = row('procurement.findings', {
  /** The key. */
  id: pg.int8,
  /** The indicator. */
  indicatorCode: pg.text,
  /** The run that found it. */
  runId: pg.int8,
  /** The contract; null where it is of a pair, or of a tender. */
  contractId: orNull(pg.uuid),
  /** The year; null where it is of a pair. */
  fiscalYear: orNull(pg.int4),
  /** Who buys; null where not told. */
  customerBin: orNull(pg.text),
  /** Who sells; null where not told. */
  supplierBin: orNull(pg.text),
  /** The tender; null where it is of none. */
  tenderId: orNull(pg.uuid),
  /** The regions that it tells of: who may not see all of them may not see it. */
  regionCodes: arrayOf(pg.text),
  /** What it says. */
  outcome: Outcome,
  /** What is compared with the threshold; null: not known. */
  value: orNull(pg.float8),
  /** What it was compared with. */
  thresholds: pg.jsonb,
  /** What the value was made of. */
  inputs: pg.jsonb,
  /** The same in a sentence. */
  reason: pg.text,
});
export type Finding = ValueOf<typeof Finding>;

/** What contracts are added up by. */
export const TotalKey = oneOf('procurement.total_key', ['year', 'region', 'category', 'status', 'type']);
export type TotalKey = ValueOf<typeof TotalKey>;

/** Contracts of one kind, added up. */
export const ContractTotal = row('procurement.contract_total', {
  /** The year, or the code of the region, category, status or type; null where contracts have none. */
  key: orNull(pg.text),
  /** How many contracts. */
  contracts: orNull(pg.int8),
  /** What was planned, without VAT, as far as known. */
  planSum: orNull(pg.numeric),
  /** What was agreed, without VAT, as far as known. */
  contractSum: orNull(pg.numeric),
  /** What was executed, without VAT, as far as known. */
  actualSum: orNull(pg.numeric),
  /** What was planned, with VAT, as far as known. */
  planSumVat: orNull(pg.numeric),
  /** What was agreed, with VAT, as far as known. */
  contractSumVat: orNull(pg.numeric),
  /** What was executed, with VAT, as far as known. */
  actualSumVat: orNull(pg.numeric),
  /** How many of them an indicator has flagged. */
  flagged: orNull(pg.int8),
});
export type ContractTotal = ValueOf<typeof ContractTotal>;

/** Who buys and who sells. */
export const Company = row('procurement.companies', {
  /** The key: a BIN or IIN, with its leading zeros. */
  bin: pg.text,
  /** What it is called; null where the source does not tell. */
  name: orNull(pg.text),
  /** Where it is registered; null where the source does not tell. */
  regionCode: orNull(pg.text),
  /** Its address; null where the source does not tell. */
  address: orNull(pg.text),
  /** Who leads it; null where the source does not tell. */
  head: orNull(pg.text),
});
export type Company = ValueOf<typeof Company>;

/** What an indicator says of a contract now, and why. */
export const Explanation = row('procurement.explanation', {
  /** The indicator. */
  indicatorCode: orNull(pg.text),
  /** What it is called. */
  indicatorName: orNull(pg.text),
  /** How it judges. */
  formula: orNull(pg.text),
  /** What it says. */
  outcome: orNull(Outcome),
  /** What is compared with the threshold; null: not known. */
  value: orNull(pg.float8),
  /** What it is compared with. */
  thresholds: orNull(pg.jsonb),
  /** What the value was made of. */
  inputs: orNull(pg.jsonb),
  /** The same in a sentence. */
  reason: orNull(pg.text),
});
export type Explanation = ValueOf<typeof Explanation>;

/** When the network of customers and suppliers was made. */
export const NetworkRun = row('procurement.network_runs', {
  /** The key. */
  id: pg.int8,
  /** How many customers are in it. */
  customers: pg.int8,
  /** How many suppliers are in it. */
  suppliers: pg.int8,
  /** How many pairs of them have contracts. */
  ties: pg.int8,
  /** How many contracts these are. */
  contracts: pg.int8,
  /** How many communities were found. */
  communities: pg.int8,
  /** How much more of the contracts lies within communities than would by chance (Barber); null where there are none. */
  modularity: orNull(pg.float8),
  /** How many rounds that took. */
  rounds: pg.int4,
  /** Whether nothing moved any more, or the rounds ended before. */
  isSettled: pg.bool,
  /** When it began. */
  startedAt: pg.timestamptz,
  /** When it was done. */
  finishedAt: pg.timestamptz,
});
export type NetworkRun = ValueOf<typeof NetworkRun>;

/** How probable an adopted model holds it that the sum of a contract grows that was signed since its `splitOn`. */
export const GrowthForecast = row('procurement.growth_forecasts', {
  /** The model. */
  modelId: pg.int8,
  /** The contract. */
  contractId: pg.uuid,
  /** The contract's year. */
  fiscalYear: pg.int4,
  /** The probability. */
  probability: pg.float8,
});
export type GrowthForecast = ValueOf<typeof GrowthForecast>;

/** Which regions a user may look at: an analyst has some. */
export const RegionGrant = row('procurement.region_grants', {
  /** Who. */
  userId: pg.uuid,
  /** What. */
  regionCode: pg.text,
  /** Who granted it; null for someone at the database. */
  grantedBy: orNull(pg.uuid),
  /** When. */
  grantedAt: pg.timestamptz,
});
export type RegionGrant = ValueOf<typeof RegionGrant>;

/** A rule by which contracts are remarkable. */
export const Indicator = row('procurement.indicators', {
  /** The key. */
  code: pg.text,
  /** What it is called. */
  name: pg.text,
  /** How it judges. */
  formula: pg.text,
  /** What it needs to know. */
  reads: arrayOf(pg.text),
  /** The function of the schema procurement that judges. */
  function: pg.text,
  /** Whether it judges pairs of customer and supplier, or companies, instead of contracts or tenders one by one. */
  isOfPairs: pg.bool,
  /** Whether it looks at tenders and their bids instead of contracts. */
  isOfTenders: pg.bool,
  /** What values are compared with; one that is null is found from all that is judged. */
  thresholds: pg.jsonb,
  /** What they were at first. */
  defaults: pg.jsonb,
  /** Counts the changes of its thresholds. */
  version: pg.int4,
  /** Whether runs ask it. */
  isOn: pg.bool,
  /** Which outcomes become findings; the others are counted, and told of a contract when someone asks (`explain`). */
  keeps: arrayOf(Outcome),
  /**
   * What it judges again when a contract changes: that one or its pairs (contracts), all of its category, with which it
   * is compared (categories), its companies also where only sums have changed (sums), or its companies and those whose
   * address or head has changed, with whom these trade (contacts).
   */
  follows: pg.text,
  /** What it adds to the score of what it flags; with 0 it does not count. */
  weight: pg.float8,
});
export type Indicator = ValueOf<typeof Indicator>;

/** What became of a bid: asked for only, not judged yet, taken as valid, disqualified, or taken back. */
export const BidStatus = oneOf('procurement.bid_status', ['invited', 'pending', 'valid', 'disqualified', 'withdrawn']);
export type BidStatus = ValueOf<typeof BidStatus>;

/** What someone offers in a tender. */
export const Bid = row('procurement.bids', {
  /** The key. */
  id: pg.uuid,
  /** The tender. */
  tenderId: pg.uuid,
  /** What the source calls it. */
  sourceRef: pg.text,
  /** As of when the source tells it; null where not told. */
  toldAt: orNull(pg.timestamptz),
  /** Who bids: several where they do so together; null where not told. */
  tendererBins: orNull(arrayOf(pg.text)),
  /** Who bids; null where several do so together, or it is not told. */
  tendererBin: orNull(pg.text),
  /** For how much; null where not told. */
  bidSum: orNull(pg.numeric),
  /** The currency of that. */
  currency: orNull(pg.text),
  /** What became of it; null where not told. */
  status: orNull(BidStatus),
  /** When it was submitted; null where not told. */
  submittedAt: orNull(pg.timestamptz),
});
export type Bid = ValueOf<typeof Bid>;

/** What became of a batch of records. */
export const ImportResult = row('procurement.import_result', {
  /** How many there were. */
  read: orNull(pg.int8),
  /** How many are new. */
  added: orNull(pg.int8),
  /** How many changed what was known. */
  changed: orNull(pg.int8),
  /** How many said what was known. */
  known: orNull(pg.int8),
  /** How many were not taken; procurement.rejects tells why. */
  rejected: orNull(pg.int8),
});
export type ImportResult = ValueOf<typeof ImportResult>;

/** Where contracts belong to. */
export const Region = row('procurement.regions', {
  /** The key, such as a KATO or NUTS code. */
  code: pg.text,
  /** What it is called. */
  name: pg.text,
});
export type Region = ValueOf<typeof Region>;

/** What was paid for a contract. */
export const Payment = row('procurement.payments', {
  /** The key. */
  id: pg.uuid,
  /** The contract, by its id: it may not have come yet. */
  contractId: pg.uuid,
  /** What the source calls it. */
  sourceRef: pg.text,
  /** When. */
  paidOn: pg.date,
  /** How much; null where not told. */
  paidSum: orNull(pg.numeric),
  /** Whether it was paid before anything was done, as agreed. */
  isAdvance: pg.bool,
});
export type Payment = ValueOf<typeof Payment>;

/** What someone means to buy. */
export const Plan = row('procurement.plans', {
  /** The key. */
  id: pg.uuid,
  /** Where it was imported from. */
  sourceCode: pg.text,
  /** What the source calls it. */
  sourceRef: pg.text,
  /** The year whose budget pays. */
  fiscalYear: pg.int4,
  /** Who buys; null where not told. */
  customerBin: orNull(pg.text),
  /** Its region; null where not told: then analysts do not see it. */
  regionCode: orNull(pg.text),
  /** The class of what is bought; null where not told. */
  category: orNull(pg.text),
  /** What is bought; null where not told. */
  subject: orNull(pg.text),
  /** What is planned, without VAT; null where not told. */
  planSum: orNull(pg.numeric),
  /** What is planned, with VAT; null where not told. */
  planSumVat: orNull(pg.numeric),
});
export type Plan = ValueOf<typeof Plan>;

/** What an export has a row of. */
export const ExportKind = oneOf('procurement.export_kind', ['contracts', 'findings']);
export type ExportKind = ValueOf<typeof ExportKind>;

/** How an export is written: a workbook, or compressed text with commas or with an object a line. */
export const ExportFormat = oneOf('procurement.export_format', ['xlsx', 'csv', 'jsonl']);
export type ExportFormat = ValueOf<typeof ExportFormat>;

/** When indicators judged. */
export const IndicatorRun = row('procurement.indicator_runs', {
  /** The key. */
  id: pg.int8,
  /** Whether thresholds were only tried. */
  isTrial: pg.bool,
  /** Whether only what had changed was asked for. */
  changedOnly: pg.bool,
  /** When it began. */
  startedAt: pg.timestamptz,
  /** When it was done. */
  finishedAt: orNull(pg.timestamptz),
  /** Who asked; null for a service or a schedule. */
  askedBy: orNull(pg.uuid),
});
export type IndicatorRun = ValueOf<typeof IndicatorRun>;

/** What a score is of. */
export const ScoreKind = oneOf('procurement.score_kind', ['contract', 'customer', 'supplier']);
export type ScoreKind = ValueOf<typeof ScoreKind>;

/** What indicators say of a contract or a company, weighed and added up: within a region, and everywhere. */
export const Score = row('procurement.scores', {
  /** The key. */
  id: pg.int8,
  /** What it is of. */
  kind: ScoreKind,
  /** The contract; null where it is of a company. */
  contractId: orNull(pg.uuid),
  /** The contract's year; null where it is of a company. */
  fiscalYear: orNull(pg.int4),
  /** The company; null where it is of a contract. */
  bin: orNull(pg.text),
  /** The region that alone is counted; null where all are. */
  regionCode: orNull(pg.text),
  /** The sum of its parts. */
  score: pg.float8,
  /**
   * What it is made of, largest first: indicator, weight, how much of that counts (share: of a company's contracts those
   * that are flagged), contribution.
   */
  parts: pg.jsonb,
  /** How many contracts are counted. */
  contracts: pg.int8,
  /** The regions of all that is counted: who may not see all of them may not see it. */
  regionCodes: arrayOf(pg.text),
  /** When. */
  scoredAt: pg.timestamptz,
});
export type Score = ValueOf<typeof Score>;

/** What someone has put out to tender. */
export const Tender = row('procurement.tenders', {
  /** The key. */
  id: pg.uuid,
  /** Where it was imported from. */
  sourceCode: pg.text,
  /** What the source calls it, such as an ocid. */
  sourceRef: pg.text,
  /** As of when the source tells it; null where not told. */
  toldAt: orNull(pg.timestamptz),
  /** What is bought; null where not told. */
  title: orNull(pg.text),
  /** How it is bought: open, selective, limited or direct. */
  method: orNull(pg.text),
  /** What the source calls that. */
  methodDetails: orNull(pg.text),
  /** What decides, such as priceOnly; null where not told. */
  awardCriteria: orNull(pg.text),
  /** How far it is, such as active, complete or cancelled. */
  status: orNull(pg.text),
  /** Who buys; null where not told. */
  customerBin: orNull(pg.text),
  /** Its region; null where not told: then analysts do not see it. */
  regionCode: orNull(pg.text),
  /** What it is expected to cost; null where not told. */
  tenderSum: orNull(pg.numeric),
  /** The currency of that. */
  currency: orNull(pg.text),
  /** From when bids may be submitted; null where not told. */
  startsAt: orNull(pg.timestamptz),
  /** Until when; null where not told. */
  endsAt: orNull(pg.timestamptz),
  /** How many have bid, as the source tells it; null where it does not. */
  tendererCount: orNull(pg.int4),
});
export type Tender = ValueOf<typeof Tender>;

/** One of the things that a contract buys. */
export const ContractUnit = row('procurement.contract_units', {
  /** The key. */
  id: pg.uuid,
  /** The contract. */
  contractId: pg.uuid,
  /** What the source calls it. */
  sourceRef: pg.text,
  /** The plan that it carries out; null where not told. */
  planId: orNull(pg.uuid),
  /** What it is; null where not told. */
  name: orNull(pg.text),
  /** How many; null where not told. */
  quantity: orNull(pg.numeric),
  /** What one costs, without VAT; null where not told. */
  unitSum: orNull(pg.numeric),
  /** What all cost, without VAT; null where not told. */
  totalSum: orNull(pg.numeric),
  /** What all cost, with VAT; null where not told. */
  totalSumVat: orNull(pg.numeric),
});
export type ContractUnit = ValueOf<typeof ContractUnit>;

/** What of it was done and taken over. */
export const acts = query('procurement.acts', { contract: keyOf(Contract, 'id', 'fiscalYear') }, setOf(ContractAct));

/**
 * Has a model forecast, in the place of the one before it for the same regions; one that was no better in its test than
 * the base rate is refused.
 */
export const adoptGrowthModel = mutation('procurement.adopt_growth_model', { modelId: pg.int8 }, GrowthModel);

/** Begins an import, or finds the one of the same source and fingerprint that was stopped, with its `position`. */
export const beginImport = mutation('procurement.begin_import', {
  sourceCode: pg.text,
  name: pg.text,
  fingerprint: pg.text,
  sourceName: optional(pg.text),
  namesCompanies: optional(pg.bool),
  binPattern: optional(pg.text),
  isLinked: optional(pg.bool),
}, orNull(Import));

/** The contract; null where the finding is of a pair. */
export const contract = query('procurement.contract', { finding: keyOf(Finding, 'id') }, orNull(Contract));

/** Contracts that indicators look at, added up by year, region, category, status or type. */
export const contractTotals = query('procurement.contract_totals', {
  by: optional(TotalKey),
  fiscalYear: optional(pg.int4),
  regionCode: optional(pg.text),
}, setOf(ContractTotal));

/** Who buys. */
export const customer = query('procurement.customer', { finding: keyOf(Finding, 'id') }, orNull(Company));

/**
 * What the indicators that judge companies say of one now, as a customer and as a supplier: also where it is clear.
 * Nothing where it is not judged, or by what the caller may not see.
 */
export const explainCompany = query('procurement.explain_company', { bin: pg.text }, setOf(Explanation));

/** What each indicator says of a contract now: also where it is clear, or what is missing. */
export const explainContract = query('procurement.explain_contract', { contractId: pg.uuid }, setOf(Explanation));

/** What each indicator says of a tender now: also where it is clear, or what is missing. */
export const explainTender = query('procurement.explain_tender', { tenderId: pg.uuid }, setOf(Explanation));

/** Seeks communities of customers and suppliers in the contracts that are analysed, and replaces those of the last run. */
export const findCommunities = mutation('procurement.find_communities', { maxRounds: optional(pg.int4) }, NetworkRun);

/** What indicators have found of it. */
export const findings = query('procurement.findings', {
  contract: keyOf(Contract, 'id', 'fiscalYear'),
}, setOf(Finding));

/** Notes that an import is done. */
export const finishImport = mutation('procurement.finish_import', { importId: pg.int8 }, orNull(Import));

/** The contract. */
export const forecastContract = query('procurement.forecast_contract', {
  forecast: keyOf(GrowthForecast, 'modelId', 'contractId'),
}, orNull(Contract));

/** Has the adopted models forecast of the contracts that were signed since their `splitOn`; returns of how many. */
export const forecastGrowth = mutation('procurement.forecast_growth', {}, pg.int8);

/** How the indicator judges; with `inputs`, `thresholds` and `reason` it explains the finding. */
export const formula = query('procurement.formula', { finding: keyOf(Finding, 'id') }, orNull(pg.text));

/** Lets a user see what lies in a region. */
export const grantRegion = mutation('procurement.grant_region', {
  userId: pg.uuid,
  regionCode: pg.text,
}, orNull(RegionGrant));

/** How probable adopted models hold it that its sum grows. */
export const growthForecasts = query('procurement.growth_forecasts', {
  contract: keyOf(Contract, 'id', 'fiscalYear'),
}, setOf(GrowthForecast));

/** The indicator. */
export const indicator = query('procurement.indicator', { finding: keyOf(Finding, 'id') }, orNull(Indicator));

/** Whether who made it has an award of the tender that is in force. */
export const isAwarded = query('procurement.is_awarded', { bid: keyOf(Bid, 'id') }, pg.bool);

/** Takes in what was copied to staged_records for an import, and notes how far it has come, in one transaction. */
export const mergeStaged = mutation('procurement.merge_staged', {
  importId: pg.int8,
  position: pg.int8,
  cursor: optional(pg.text),
}, orNull(ImportResult));

/** The regions that the caller may look at. */
export const myRegions = query('procurement.my_regions', {}, setOf(Region));

/**
 * What it is made of, largest first: how many standard deviations each feature is above the mean, and what that adds to
 * the log-odds.
 */
export const parts = query('procurement.parts', {
  forecast: keyOf(GrowthForecast, 'modelId', 'contractId'),
}, orNull(pg.jsonb));

/** What was paid for it. */
export const payments = query('procurement.payments', {
  contract: keyOf(Contract, 'id', 'fiscalYear'),
}, setOf(Payment));

/** The plan that it carries out. */
export const plan = query('procurement.plan', { contract: keyOf(Contract, 'id', 'fiscalYear') }, orNull(Plan));

/** Notes a record that could not even be read. */
export const rejectRecord = mutation('procurement.reject_record', {
  importId: pg.int8,
  line: pg.int8,
  reason: pg.text,
});

/**
 * Asks for a file with the contracts, or the findings, that the caller may see; its job makes it, and `runEvents` tells
 * how far it is. Asked for again with the same `nonce`, or as long as the same is being made, it is the first one. Fifty a
 * day. It is downloaded by `createExportLink`.
 */
export const requestContractExport = mutation('procurement.request_contract_export', {
  kind: optional(ExportKind),
  format: optional(ExportFormat),
  fiscalYear: optional(pg.int4),
  regionCode: optional(pg.text),
  category: optional(pg.text),
  typeCode: optional(pg.text),
  statusCode: optional(pg.int4),
  customerBin: optional(pg.text),
  supplierBin: optional(pg.text),
  signedFrom: optional(pg.date),
  signedUntil: optional(pg.date),
  indicatorCode: optional(pg.text),
  nonce: optional(pg.text),
}, Export);

/** Takes a region from a user, who is shown and told of it no more; false where they did not have it. */
export const revokeRegion = mutation('procurement.revoke_region', { userId: pg.uuid, regionCode: pg.text }, pg.bool);

/** The first version; null where it was not imported. */
export const root = query('procurement.root', { contract: keyOf(Contract, 'id', 'fiscalYear') }, orNull(Contract));

/** The run that found it. */
export const run = query('procurement.run', { finding: keyOf(Finding, 'id') }, orNull(IndicatorRun));

/**
 * Asks every indicator that is on: of what has changed since its last run, or of everything. One whose thresholds have
 * changed judges everything.
 */
export const runIndicators = mutation('procurement.run_indicators', { changedOnly: optional(pg.bool) }, IndicatorRun);

/**
 * Scores contracts, customers and suppliers by what indicators have flagged, where runs or weights have changed that
 * since the last time, or `anew`; returns how many scores there are, 0 where nothing had changed.
 */
export const scoreFindings = mutation('procurement.score_findings', { anew: optional(pg.bool) }, pg.int8);

/** The contract; null where the score is of a company. */
export const scoredContract = query('procurement.scored_contract', { score: keyOf(Score, 'id') }, orNull(Contract));

/** What indicators say of it, weighed and added up. */
export const scores = query('procurement.scores', { contract: keyOf(Contract, 'id', 'fiscalYear') }, setOf(Score));

/** Changes thresholds of an indicator: its next run judges everything by them. Those that are left out are as they are. */
export const setThresholds = mutation('procurement.set_thresholds', {
  indicatorCode: pg.text,
  thresholds: pg.jsonb,
}, Indicator);

/** Changes what an indicator adds to scores; the next scoring goes by it. 0: it does not count. */
export const setWeight = mutation('procurement.set_weight', { indicatorCode: pg.text, weight: pg.float8 }, Indicator);

/** Who sells. */
export const supplier = query('procurement.supplier', { finding: keyOf(Finding, 'id') }, orNull(Company));

/** The tender; null where the finding is of none. */
export const tender = query('procurement.tender', { finding: keyOf(Finding, 'id') }, orNull(Tender));

/** What indicators have found of it. */
export const tenderFindings = query('procurement.tender_findings', { tender: keyOf(Tender, 'id') }, setOf(Finding));

/**
 * Trains a model on contracts that are over and signed before a day, and tests it on those signed since (unless it is
 * given, of the earlier 70 % and the later 30 %). It forecasts nothing until it is adopted.
 */
export const trainGrowthModel = mutation('procurement.train_growth_model', {
  overPercent: optional(pg.float8),
  regionCodes: optional(arrayOf(pg.text)),
  splitOn: optional(pg.date),
  penalty: optional(pg.float8),
}, GrowthModel);

/**
 * What an indicator would find with other thresholds: the findings of the run stand apart (`trialFindings`), and go
 * after 7 days. Thresholds that are left out are as they are.
 */
export const tryThresholds = mutation('procurement.try_thresholds', {
  indicatorCode: pg.text,
  thresholds: pg.jsonb,
}, IndicatorRun);

/** What it buys. */
export const units = query('procurement.units', { contract: keyOf(Contract, 'id', 'fiscalYear') }, setOf(ContractUnit));

/** All versions of the contract, the first one among them. */
export const versions = query('procurement.versions', {
  contract: keyOf(Contract, 'id', 'fiscalYear'),
}, setOf(Contract));
