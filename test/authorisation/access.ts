import type { Section } from './section.ts';

export const access: Section = {
  users: ['plinth_server', 'anonymous', 'member', 'operator', 'service'],
  tables: {
    'access.flags': { readers: ['operator', 'service'], columns: 'name is_on share for_users description' },
    'access.rate_limits': { readers: ['operator', 'service'], columns: 'subject covers count per' },
    'access.rate_counts': { readers: [], columns: '' },
  },
  functions: {
    'access._gate()': ['plinth_server'],
    'access._count_requests(text[],integer[],integer[])': ['plinth_server'],
    'access.maintenance()': ['anonymous', 'service'],
    'access.is_on(text)': ['anonymous', 'service'],
    'access.feature_flags()': ['anonymous', 'service'],
    'access.begin_maintenance(text,timestamp with time zone,text)': ['operator', 'service'],
    'access.end_maintenance()': ['operator', 'service'],
    'access.set_flag(text,boolean,integer,uuid[],text)': ['operator', 'service'],
    'access.remove_flag(text)': ['operator', 'service'],
  },
  privateFunctions: ['access._percent_of(text,uuid)', 'access._is_on(access.flags)', 'access._tell_changed()'],
};
