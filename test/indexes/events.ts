import type { Section } from './section.ts';

export const events: Section = {
  uses: {
    'events.topic_kinds_pkey': null,
    'events.topics_pkey': "select events.publish('user:77', 'told')",
    'events.untold_pkey': "select events.publish('user:77', 'told')",
    'events.log_pkey': "select * from events._missed('{user:77}', '{0}', '{1}')",
    'events.log_xid_idx': "select * from events._new_in_log('3:3:', pg_current_snapshot(), '-infinity', '', 0)",
    'events.restores_pkey': null,
  },
  rows: '',
};
