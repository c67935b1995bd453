import type { Section } from './section.ts';

export const events: Section = {
  users: ['plinth_server', 'anonymous', 'member', 'operator', 'service'],
  tables: {
    'events.topic_kinds': { readers: [], columns: '' },
    'events.topics': { readers: [], columns: '' },
    'events.untold': { readers: [], columns: '' },
    'events.log': { readers: [], columns: '' },
    'events.restores': { readers: [], columns: '' },
  },
  functions: {
    'events.cursor()': ['anonymous', 'service', 'plinth_server'],
    'events._new_in_log(pg_snapshot,pg_snapshot,timestamp with time zone,text,bigint,integer)': ['plinth_server'],
    'events._rechecks_in_log(pg_snapshot,pg_snapshot,timestamp with time zone)': ['plinth_server'],
    'events._newest_in_log(pg_snapshot,pg_snapshot,timestamp with time zone)': ['plinth_server'],
    'events._seqs_at(text[],bigint[],text)': ['plinth_server'],
    'events._missed(text[],bigint[],bigint[])': ['plinth_server'],
  },
  privateFunctions: [
    'events._forget_day(text,text)',
    'events._expired_days()',
    'events._ensure_partition(text,timestamp with time zone)',
    'events.publish(text,text,jsonb,bigint,uuid)',
    'events.signal(text,text,jsonb)',
    'events._signal(text,text,jsonb)',
    'events._durable(pg_snapshot,xid8)',
    'events._mark()',
    'events._restored(text)',
    'events._kinds_of(text[])',
    'events.expire()',
    'events.ensure_partitions(integer)',
    'events._count_untold()',
    'events._tell_session_ended()',
    'events._tell_account_changed()',
    'events._everyone()',
  ],
};
