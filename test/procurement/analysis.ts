import type { Test } from 'tap';
import { openWorld, type Person, type World } from '../world.ts';

export type Finding = {
  contract: { sourceRef: string } | null;
  customerBin: string | null;
  supplierBin: string | null;
  regionCodes: (string | null)[];
  value: number;
  // biome-ignore lint/suspicious/noExplicitAny: each indicator has inputs of its own
  inputs: Record<string, any>;
  reason: string;
};

/** A world with an operator in it, and what tests of indicators ask. */
export type Analysis = {
  world: World;
  operator: Person;
  /** A request that must not fail, as the operator unless another token is given. */
  // biome-ignore lint/suspicious/noExplicitAny: the shape is that of the query each test sends
  ask(query: string, variables?: object, token?: string): Promise<any>;
  run(changedOnly?: boolean): Promise<string>;
  /** What an indicator has flagged, by contract, customer and supplier. */
  flagged(indicator: string, token?: string): Promise<Finding[]>;
  explain(
    ref: string,
    indicator: string,
  ): Promise<{ outcome: string; value: number | null; inputs: object; reason: string }>;
  /** The findings of a run with other thresholds. */
  tried(indicator: string, thresholds: object): Promise<Finding[]>;
};

const told = 'contract { sourceRef } customerBin supplierBin regionCodes value inputs reason';
const key = ({ contract, customerBin, supplierBin }: Finding) =>
  `${contract?.sourceRef ?? ''} ${customerBin ?? ''} ${supplierBin ?? ''}`;
const sorted = (findings: Finding[]) => findings.sort((one, other) => (key(one) < key(other) ? -1 : 1));

export async function openAnalysis(t: Test): Promise<Analysis> {
  const world = await openWorld(t);
  const operator = await world.person('olga', { operator: true });
  const ask: Analysis['ask'] = async (query, variables = {}, token = operator.token) => {
    const { data, errors } = await world.ask(query, variables, token);
    if (errors) throw new Error(JSON.stringify(errors));
    return data;
  };
  return {
    world,
    operator,
    ask,
    async run(changedOnly = true) {
      const { runIndicators } = await ask(
        'mutation ($changedOnly: Boolean) { runIndicators(input: {changedOnly: $changedOnly}) { indicatorRun { id } } }',
        { changedOnly },
      );
      return runIndicators.indicatorRun.id;
    },
    async flagged(indicator, token) {
      const { findings } = await ask(
        `query ($filter: FindingFilter) { findings(first: 100, filter: $filter) { nodes { ${told} } } }`,
        { filter: { indicatorCode: { eq: indicator }, outcome: { eq: 'FLAGGED' } } },
        token,
      );
      return sorted(findings.nodes);
    },
    async explain(ref, indicator) {
      const { contracts } = await ask(
        'query ($filter: ContractFilter) { contracts(first: 1, filter: $filter) { nodes { id } } }',
        { filter: { sourceRef: { eq: ref } } },
      );
      const { explainContract } = await ask(
        'query ($id: UUID!) { explainContract(contractId: $id) { indicatorCode outcome value inputs reason } }',
        { id: contracts.nodes[0].id },
      );
      return explainContract.find((each: { indicatorCode: string }) => each.indicatorCode === indicator);
    },
    async tried(indicatorCode, thresholds) {
      const { tryThresholds } = await ask(
        `mutation ($input: TryThresholdsInput!) { tryThresholds(input: $input) { indicatorRun { id } } }`,
        { input: { indicatorCode, thresholds } },
      );
      const { rows } = await world.owner.query(
        `select finding.value, finding.inputs, finding.reason, finding.customer_bin as "customerBin", finding.supplier_bin as "supplierBin",
           finding.region_codes as "regionCodes",
           (select jsonb_build_object('sourceRef', contract.source_ref) from procurement.contracts as contract where contract.id = finding.contract_id) as contract
         from procurement.trial_findings as finding where finding.run_id = $1 and finding.outcome = 'flagged'`,
        [tryThresholds.indicatorRun.id],
      );
      return sorted(rows);
    },
  };
}
