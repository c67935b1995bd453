import type { Section } from './section.ts';

export const publicSchema: Section = {
  users: ['plinth_server', 'anonymous', 'member', 'operator', 'service'],
  tables: {
    'public.error_codes': { readers: ['plinth_server'], columns: 'sqlstate code description' },
    'public.schema_versions': { readers: [], columns: '' },
  },
  functions: {},
  privateFunctions: [
    'public._announce_ddl()',
    'public.refuse(text,text,text)',
    'public._uuid_v7_ticks(uuid)',
    'public._uuid_v7_ticks(timestamp with time zone)',
    'public.uuid_v7_at(timestamp with time zone,uuid)',
    'public.uuid_v7()',
    'public.uuid_v7_floor(timestamp with time zone)',
    'public.uuid_v7_time(uuid)',
    'public._touch_updated_at()',
  ],
};
