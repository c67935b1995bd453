import { type Section, someone } from './section.ts';

export const procurement: Section = {
  uses: {
    'procurement.sources_pkey': null,
    'procurement.regions_pkey': null,
    'procurement.region_grants_pkey': null,
    'procurement.region_grants_region_code_idx': "select * from procurement.region_grants where region_code = 'R77'",
    'procurement.region_grants_granted_by_idx': `delete from identity.users where id = ${someone}`,
    'procurement.contract_types_pkey': null,
    'procurement.contract_statuses_pkey': null,
    'procurement.companies_pkey': null,
    'procurement.companies_region_code_idx': "select * from procurement.companies where region_code = 'R77'",
    'procurement.companies_changed_xid_idx':
      "select procurement._concerned(indicator, '{}', '{}', pg_current_snapshot()) from procurement.indicators as indicator where code = 'shared_contacts'",
    'procurement.contracts_pkey':
      "select * from procurement.contracts where id = (select id from procurement.contracts where source_ref = 'c77')",
    'procurement.contracts_customer_bin_supplier_bin_idx':
      "select * from procurement.contracts where customer_bin = '000000000077'",
    'procurement.contracts_supplier_bin_idx': "select * from procurement.contracts where supplier_bin = '000000000077'",
    'procurement.contracts_region_code_signed_on_idx':
      "select * from procurement.contracts where region_code = 'R77' order by signed_on desc limit 20",
    'procurement.contracts_category_idx': "select * from procurement.contracts where category = 'category 77'",
    'procurement.contracts_status_code_idx': 'select * from procurement.contracts where status_code = 480',
    'procurement.contracts_type_code_idx': "select * from procurement.contracts where type_code = 'multi_year'",
    'procurement.contracts_source_code_source_ref_idx':
      "select * from procurement.contracts where source_code = 'source' and source_ref = 'c77'",
    'procurement.contracts_contract_sum_idx': 'select * from procurement.contracts order by contract_sum desc limit 20',
    'procurement.contracts_signed_on_idx': 'select * from procurement.contracts order by signed_on desc limit 20',
    'procurement.contracts_discount_idx': 'select * from procurement.contracts order by discount desc limit 20',
    'procurement.contracts_root_id_version_idx':
      "select version.* from procurement.contracts as first, procurement.versions(first) as version where first.id = (select id from procurement.contracts where source_ref = 'c77')",
    'procurement.contracts_changed_xid_idx': 'select procurement._changed_roots(pg_current_snapshot())',
    'procurement.departures_pkey': null,
    'procurement.plans_pkey': null,
    'procurement.plans_source_code_idx': "select * from procurement.plans where source_code = 'source-77'",
    'procurement.plans_customer_bin_idx': "select * from procurement.plans where customer_bin = '000000000077'",
    'procurement.plans_region_code_idx': "select * from procurement.plans where region_code = 'R77'",
    'procurement.contract_units_pkey': null,
    'procurement.contract_units_plan_id_idx':
      'select * from procurement.contract_units where plan_id = (select plan_id from procurement.contract_units limit 1)',
    'procurement.contract_units_contract_id_idx':
      "select * from procurement.contract_units where contract_id = (select id from procurement.contracts where source_ref = 'c77')",
    'procurement.payments_pkey': null,
    'procurement.payments_contract_id_paid_on_idx':
      "select * from procurement.payments where contract_id = (select id from procurement.contracts where source_ref = 'c77') order by paid_on",
    'procurement.contract_acts_pkey': null,
    'procurement.contract_acts_contract_id_idx':
      "select * from procurement.contract_acts where contract_id = (select id from procurement.contracts where source_ref = 'c77')",
    'procurement.imports_pkey': null,
    'procurement.imports_source_code_fingerprint_idx':
      "select procurement.begin_import('source-77', 'file', 'file 77')",
    'procurement.rejects_pkey': null,
    'procurement.rejects_import_id_line_idx':
      'select * from procurement.rejects where import_id = 77 order by line limit 20',
    'procurement.indicators_pkey': null,
    'procurement.indicator_runs_pkey': null,
    'procurement.indicator_runs_asked_by_idx': `delete from identity.users where id = ${someone}`,
    'procurement.indicator_results_pkey': null,
    'procurement.indicator_results_indicator_code_idx':
      "select * from procurement.indicator_results where indicator_code = 'x77'",
    'procurement.indicator_states_pkey': null,
    'procurement.findings_pkey': null,
    'procurement.findings_indicator_code_outcome_value_idx':
      "select * from procurement.findings where indicator_code = 'x77' and outcome = 'flagged' order by value desc limit 20",
    'procurement.findings_contract_id_idx':
      "select finding.* from procurement.contracts as one, procurement.findings(one) as finding where one.id = (select id from procurement.contracts where source_ref = 'c77')",
    'procurement.findings_customer_bin_idx': "select * from procurement.findings where customer_bin = '000000000077'",
    'procurement.findings_supplier_bin_idx': "select * from procurement.findings where supplier_bin = '000000000077'",
    'procurement.findings_run_id_idx': 'select * from procurement.findings where run_id = 77',
    'procurement.findings_tender_id_idx':
      'select finding.* from procurement.tenders as one, procurement.tender_findings(one) as finding where one.id = md5(77::text)::uuid',
    'procurement.tenders_pkey': null,
    'procurement.tenders_source_code_source_ref_idx':
      "select * from procurement.tenders where source_code = 'source' and source_ref = 't77'",
    'procurement.tenders_customer_bin_idx': "select * from procurement.tenders where customer_bin = '000000000077'",
    'procurement.tenders_region_code_ends_at_idx':
      "select * from procurement.tenders where region_code = 'R77' order by ends_at desc limit 20",
    'procurement.tenders_ends_at_idx': 'select * from procurement.tenders order by ends_at desc limit 20',
    'procurement.tenders_changed_xid_idx': 'select procurement._changed_tenders(pg_current_snapshot())',
    'procurement.tender_facts_pkey': null,
    'procurement.bids_pkey': null,
    'procurement.bids_tender_id_bid_sum_idx':
      'select * from procurement.bids where tender_id = md5(77::text)::uuid order by bid_sum limit 20',
    'procurement.bids_tenderer_bin_idx': "select * from procurement.bids where tenderer_bin = '000000000077'",
    'procurement.bids_tenderer_bins_idx': "select * from procurement.bids where tenderer_bins @> '{000000000077}'",
    'procurement.awards_pkey': null,
    'procurement.awards_tender_id_idx': 'select * from procurement.awards where tender_id = md5(77::text)::uuid',
    'procurement.awards_supplier_bin_idx': "select * from procurement.awards where supplier_bin = '000000000077'",
    'procurement.awards_supplier_bins_idx': "select * from procurement.awards where supplier_bins @> '{000000000077}'",
    'procurement.trial_findings_pkey': 'select * from procurement.trial_findings where run_id = 77',
    'procurement.network_runs_pkey': null,
    'procurement.communities_pkey': null,
    'procurement.communities_run_id_idx': 'select * from procurement.communities where run_id = 77',
    'procurement.communities_modularity_idx': 'select * from procurement.communities order by modularity desc limit 20',
    'procurement.community_members_pkey': "select * from procurement.community_members where bin = '000000000077'",
    'procurement.community_members_community_id_idx':
      'select * from procurement.community_members where community_id = 77',
    'procurement.scores_pkey': null,
    'procurement.scores_kind_region_code_score_idx':
      "select * from procurement.scores where kind = 'supplier' and region_code is null order by score desc limit 20",
    'procurement.scores_contract_id_idx':
      "select score.* from procurement.contracts as one, procurement.scores(one) as score where one.id = (select id from procurement.contracts where source_ref = 'c77')",
    'procurement.scores_bin_idx': "select * from procurement.scores where bin = '000000000077'",
    'procurement.scores_region_code_idx': "select count(*) from procurement.scores where region_code = 'R77'",
    'procurement.score_states_pkey': null,
    'procurement.growth_models_pkey': null,
    'procurement.growth_forecasts_pkey': null,
    'procurement.growth_forecasts_model_id_probability_idx':
      'select * from procurement.growth_forecasts where model_id = 7 order by probability desc limit 20',
    'procurement.growth_forecasts_contract_id_idx':
      "select forecast.* from procurement.contracts as one, procurement.growth_forecasts(one) as forecast where one.id = (select id from procurement.contracts where source_ref = 'c77')",
    'procurement.network_ties_pkey': null,
    'procurement.network_nodes_pkey': null,
  },
  rows: `
  insert into procurement.sources (code, name) select 'source-' || n, 'a source' from generate_series(1, 300) as n union all select 'source', 'a source';
  insert into procurement.regions select 'R' || n, 'a region' from generate_series(1, 300) as n;
  insert into procurement.region_grants (user_id, region_code, granted_by) select id, 'R' || n % 300 + 1, id from who;
  insert into procurement.companies (bin, region_code) select lpad(n::text, 12, '0'), 'R' || n % 300 + 1 from who;
  select procurement._ensure_year(2024);
  insert into procurement.contracts (id, fiscal_year, source_code, source_ref, root_id, version, category, type_code, status_code, region_code,
      customer_bin, supplier_bin, signed_on, plan_sum, contract_sum)
    select md5(n::text)::uuid, 2024, 'source', 'c' || n, md5((n - n % 2)::text)::uuid, n % 2 + 1, 'category ' || n % 300, case when n % 300 = 0 then 'multi_year' else 'annual' end,
      case when n % 300 = 0 then 480 else 190 end, 'R' || n % 300 + 1, lpad((n % 3000)::text, 12, '0'), lpad((n % 2999)::text, 12, '0'), date '2024-01-01' + n % 365, 1000, n % 1000 + 1
    from generate_series(1, 12000) as n;
  insert into procurement.plans (id, source_code, source_ref, fiscal_year, customer_bin, region_code)
    select gen_random_uuid(), 'source-' || n % 300 + 1, n, 2024, lpad(n::text, 12, '0'), 'R' || n % 300 + 1 from who;
  insert into procurement.contract_units (id, contract_id, source_ref, plan_id) select gen_random_uuid(), id, source_ref, gen_random_uuid() from procurement.contracts;
  insert into procurement.payments (id, contract_id, source_ref, paid_on) select gen_random_uuid(), id, source_ref, signed_on from procurement.contracts;
  insert into procurement.contract_acts (id, contract_id, source_ref) select gen_random_uuid(), id, source_ref from procurement.contracts;
  insert into procurement.imports (source_code, name, fingerprint) select 'source-' || n % 300 + 1, 'file', 'file ' || n from who;
  insert into procurement.rejects (import_id, line, reason) select n, line, 'why' from who, generate_series(1, 4) as line;
  insert into procurement.indicators (code, name, formula, reads, function, thresholds, defaults, is_on)
    select 'x' || n, 'one', 'a', '{}', 'x', '{}', '{}', false from generate_series(1, 300) as n;
  insert into procurement.indicator_runs (is_trial, changed_only, asked_by) select true, false, id from who;
  insert into procurement.indicator_results (run_id, indicator_code, version, thresholds, is_full, flagged, clear, not_computable, seconds)
    select n, 'x' || n % 300 + 1, 1, '{}', true, 0, 0, 0, 0 from who;
  insert into procurement.tenders (id, source_code, source_ref, customer_bin, region_code, ends_at)
    select md5(n::text)::uuid, 'source', 't' || n, lpad((n % 3000)::text, 12, '0'), 'R' || n % 300 + 1, timestamptz '2024-01-01' + n * interval '1 hour'
    from generate_series(1, 6000) as n;
  insert into procurement.bids (id, tender_id, source_ref, tenderer_bins, bid_sum)
    select gen_random_uuid(), md5((n % 6000 + 1)::text)::uuid, n, array[lpad((n % 3000)::text, 12, '0')], n from generate_series(1, 12000) as n;
  insert into procurement.awards (id, tender_id, source_ref, supplier_bins)
    select gen_random_uuid(), md5(n::text)::uuid, n, array[lpad((n % 2999)::text, 12, '0')] from generate_series(1, 6000) as n;
  insert into procurement.findings (indicator_code, run_id, contract_id, tender_id, customer_bin, supplier_bin, region_codes, outcome, value, thresholds, inputs, reason)
    select 'x' || n % 300 + 1, n % 3000 + 1, md5(n::text)::uuid, md5(n::text)::uuid, lpad((n % 3000)::text, 12, '0'), lpad((n % 2999)::text, 12, '0'), '{}', 'flagged', n, '{}', '{}', 'why'
    from generate_series(1, 12000) as n;
  insert into procurement.trial_findings (indicator_code, run_id, region_codes, outcome, thresholds, inputs, reason)
    select 'x', n, '{}', 'flagged', '{}', '{}', 'why' from who;
  insert into procurement.network_runs (customers, suppliers, ties, contracts, communities, rounds, is_settled, started_at, finished_at)
    select 1, 1, 1, 1, 1, 1, true, now(), now() from who;
  insert into procurement.communities (run_id, number, customers, suppliers, contracts, all_contracts, modularity, region_codes)
    select n, 1, 1, 1, 1, 1, n / 3000.0, '{}' from who;
  insert into procurement.community_members (bin, side, community_id, contracts, all_contracts) select lpad(n::text, 12, '0'), 'customer', n, 1, 1 from who;
  insert into procurement.scores (kind, contract_id, fiscal_year, region_code, score, parts, contracts, region_codes)
    select 'contract', md5(n::text)::uuid, 2024, case when n % 2 = 0 then 'R' || n % 300 + 1 end, n, '[]', 1, '{}' from generate_series(1, 12000) as n;
  insert into procurement.scores (kind, bin, region_code, score, parts, contracts, region_codes)
    select 'supplier', lpad(n::text, 12, '0'), case when n % 2 = 0 then 'R' || n % 300 + 1 end, n, '[]', 1, '{}' from who;
  insert into procurement.growth_forecasts (model_id, contract_id, fiscal_year, probability, x)
    select n % 20, md5(n::text)::uuid, 2024, n / 12000.0, '{}' from generate_series(1, 12000) as n;
  `,
};
