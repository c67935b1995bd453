import type { Section } from './section.ts';

export const operations: Section = {
  users: ['operator', 'service'],
  tables: {
    'operations.backups': {
      readers: ['operator'],
      columns:
        'name kind form parts state storage started_at finished_at proven_at removed_at bytes row_count restore_seconds error',
    },
    'operations.health_thresholds': { readers: [], columns: '' },
  },
  functions: {
    'operations.ensure_partitions(timestamp with time zone,integer)': ['service'],
    'operations.expire_codes()': ['service'],
    'operations.expire_events()': ['service'],
    'operations.expire_nonces()': ['service'],
    'operations.analyze_messages()': ['service'],
    'operations.health()': ['operator', 'service'],
    'operations.slow_queries(integer)': ['operator', 'service'],
    'operations.query_totals(integer)': ['operator', 'service'],
    'operations.table_sizes()': ['operator', 'service'],
    'operations.bloat()': ['operator', 'service'],
    'operations.index_usage()': ['operator', 'service'],
    'operations.long_transactions(integer)': ['operator', 'service'],
    'operations.blocked_sessions()': ['operator', 'service'],
    'operations.database_connections()': ['operator', 'service'],
    'operations.headroom()': ['operator', 'service'],
    'operations.replication()': ['operator', 'service'],
    'operations.backup_started(text,operations.backup_form,text,text)': ['service'],
    'operations.backup_finished(text,bigint,bigint)': ['service'],
    'operations.backup_proven(text,double precision)': ['service'],
    'operations.backup_failed(text,text)': ['service'],
    'operations.backup_found(text,operations.backup_kind,operations.backup_form,text,text,timestamp with time zone,timestamp with time zone,bigint,bigint)':
      ['service'],
    'operations.backup_removed(text)': ['service'],
    'operations.expired_backups(timestamp with time zone)': ['service'],
    'operations.backup_status()': ['operator', 'service'],
  },
  privateFunctions: [
    'operations._blind_to_sessions()',
    'operations._blind_to_statements()',
    'operations._without_values(text)',
    'operations._statements()',
    'operations._measured()',
    'operations.restored(text,timestamp with time zone,timestamp with time zone,bigint,bigint,double precision)',
  ],
};
