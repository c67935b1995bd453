import { type Section, someone } from './section.ts';

const beat = `select presence._record(jsonb_build_array(jsonb_build_object('user', user_id, 'session', id, 'age', 0, 'input', '{"status": "away"}'::jsonb)))
  from identity.sessions where user_id = ${someone} limit 1`;

export const presence: Section = {
  uses: {
    'presence.devices_pkey': beat,
    'presence.sessions_pkey': beat,
    'presence.days_pkey': 'select * from presence.online_days()',
    'presence.days_day_idx': 'select presence.expire()',
    'presence.visibilities_pkey': 'select presence.my_presence_visibility()',
  },
  rows: `
  insert into presence.devices (user_id, session_id, status, beat_at) select user_id, id, 'online', now() from identity.sessions;
  insert into presence.sessions (user_id, status, started_at, beat_at) select id, 'online', now() - interval '1 hour', now() from who;
  insert into presence.days (user_id, day, seconds, sessions, first_at, last_at)
    select id, now()::date - step - case step when 9 then 500 else 0 end, 60, 1, now(), now() from who, generate_series(0, 9) as step;
  insert into presence.visibilities (user_id, visible_to) select id, 'contacts' from who;
  `,
};
