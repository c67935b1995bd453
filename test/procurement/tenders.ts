import type { World } from '../world.ts';

type Explanation = { indicatorCode: string; outcome: string; reason: string };

/** What the tests of tenders ask, as an operator. */
export function asking(world: World, { token }: { token: string }) {
  async function ask(query: string, variables: object = {}) {
    const { data, errors } = await world.ask(query, variables, token);
    if (errors) throw new Error(JSON.stringify(errors));
    return data;
  }

  /** Has the indicators judge what has changed, or everything: how many each has judged. */
  async function run(changedOnly = true): Promise<Record<string, number>> {
    const { runIndicators } = await ask(
      `mutation ($changedOnly: Boolean) { runIndicators(input: {changedOnly: $changedOnly}) { indicatorRun {
        results(first: 100) { nodes { indicatorCode flagged clear notComputable } } } } }`,
      { changedOnly },
    );
    const nodes: { indicatorCode: string; flagged: string; clear: string; notComputable: string }[] =
      runIndicators.indicatorRun.results.nodes;
    return Object.fromEntries(
      nodes.map((each) => [each.indicatorCode, Number(each.flagged) + Number(each.clear) + Number(each.notComputable)]),
    );
  }

  /** What an indicator has flagged: tenders by what their source calls them, companies and pairs by their BINs. */
  async function flagged(indicator: string): Promise<string[]> {
    const { findings } = await ask(
      `query ($filter: FindingFilter) { findings(first: 100, filter: $filter) {
        nodes { tender { sourceRef } customerBin supplierBin } } }`,
      { filter: { indicatorCode: { eq: indicator }, outcome: { eq: 'FLAGGED' } } },
    );
    const nodes: { tender: { sourceRef: string } | null; customerBin: string | null; supplierBin: string | null }[] =
      findings.nodes;
    return nodes
      .map((node) => node.tender?.sourceRef ?? [node.customerBin, node.supplierBin].filter(Boolean).join(' '))
      .sort();
  }

  async function explain(ref: string, indicator: string): Promise<Explanation | undefined> {
    const { tenders } = await ask(
      'query ($filter: TenderFilter) { tenders(first: 1, filter: $filter) { nodes { id } } }',
      { filter: { sourceRef: { eq: ref } } },
    );
    const { explainTender } = await ask(
      'query ($id: UUID!) { explainTender(tenderId: $id) { indicatorCode outcome value thresholds inputs reason } }',
      { id: tenders.nodes[0].id },
    );
    return explainTender.find((each: Explanation) => each.indicatorCode === indicator);
  }

  async function explainCompany(bin: string, indicator: string): Promise<Explanation[]> {
    const { explainCompany } = await ask(
      'query ($bin: String!) { explainCompany(bin: $bin) { indicatorCode outcome value thresholds inputs reason } }',
      { bin },
    );
    return explainCompany.filter((each: Explanation) => each.indicatorCode === indicator);
  }

  return { ask, run, flagged, explain, explainCompany };
}
