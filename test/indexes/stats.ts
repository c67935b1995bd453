import type { Section } from './section.ts';

export const stats: Section = {
  uses: {
    'stats.system_metrics_metric_name_measured_at_id_idx':
      "select * from stats.system_metrics where metric_name = 'cpu_usage' order by measured_at desc, id desc limit 20",
    'stats.system_metrics_measured_at_idx': 'select stats.expire_metrics()',
    'stats.daily_stats_pkey': null,
    'stats.system_metrics_pkey': null,
  },
  rows: `
  insert into stats.system_metrics (metric_name, metric_value, server_id, measured_at)
    select (array['cpu_usage', 'memory_usage', 'disk_usage'])[n % 3 + 1]::stats.metric_name, 0.5, 'here', now() - n * interval '15 minutes' from who;
  `,
};
