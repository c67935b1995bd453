import type { Section } from './section.ts';

export const access: Section = {
  uses: {
    'access.flags_pkey': "select access.is_on('flag_77')",
    'access.rate_limits_pkey': null,
    'access.rate_counts_pkey': "select access._count_requests('{key77}', '{1}', '{60}')",
    'access.rate_counts_expires_at_idx': "select access._count_requests('{key77}', '{1}', '{60}')",
  },
  rows: `
  insert into access.flags (name, description) select 'flag_' || n, 'A flag' from who;
  insert into access.rate_counts
    select 'key' || n, 1, now() + case when n % 100 = 0 then -interval '1 hour' else interval '1 hour' end from who;
  `,
};
