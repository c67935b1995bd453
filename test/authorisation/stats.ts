import type { Section } from './section.ts';

export const stats: Section = {
  users: ['plinth_server', 'operator', 'service'],
  tables: {
    'stats.daily_stats': {
      readers: ['operator', 'service'],
      columns:
        'stat_date total_users active_users new_users total_rooms new_rooms total_messages new_messages storage_used_bytes counted_at',
    },
    'stats.system_metrics': {
      readers: ['operator', 'service'],
      columns: 'id metric_name metric_value server_id measured_at',
    },
  },
  functions: {
    'stats.update_daily_stats(date)': ['operator', 'service'],
    'stats.record_metrics(text,jsonb)': ['service', 'plinth_server'],
  },
  privateFunctions: ['stats.expire_metrics()', 'stats.measure_database()', 'stats._first_day()'],
};
