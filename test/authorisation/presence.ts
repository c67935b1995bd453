import type { Section } from './section.ts';

export const presence: Section = {
  users: ['plinth_server', 'member', 'operator', 'service'],
  tables: {
    'presence.devices': { readers: [], columns: '' },
    'presence.sessions': { readers: [], columns: '' },
    'presence.days': { readers: [], columns: '' },
    'presence.visibilities': { readers: [], columns: '' },
    'presence._hidden': { readers: ['member'], columns: 'user_id' },
    'presence._seen': { readers: ['member'], columns: 'user_id status started_at' },
  },
  functions: {
    'presence._record(jsonb,timestamp with time zone)': ['plinth_server'],
    'presence._timeout()': ['member'],
    'presence.listen(uuid[])': ['member'],
    'presence.my_presence_visibility()': ['member'],
    'presence.online_days(uuid,date,date)': ['member'],
    'presence.online_members(chat.channels)': ['member'],
    'presence.presence(events.event)': ['member'],
    'presence.set_presence(presence.presence_status)': ['member'],
    'presence.set_presence_visibility(presence.presence_visibility)': ['member'],
    'presence.status(identity.users)': ['member'],
    'presence.last_seen_at(identity.users)': ['member'],
  },
  privateFunctions: [
    'presence._close(timestamp with time zone)',
    'presence._count(uuid[],timestamp with time zone[],timestamp with time zone[])',
    'presence._day_begins(date,text)',
    'presence._days_of(timestamp with time zone,timestamp with time zone,text)',
    'presence._forget_user()',
    'presence._hide_seen()',
    'presence.close_sessions()',
    'presence.expire()',
  ],
};
