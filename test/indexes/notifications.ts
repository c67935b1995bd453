import { removal, type Section, someone, somewhere } from './section.ts';

export const notifications: Section = {
  uses: {
    'notifications.notifications_pkey': 'select * from notifications._own where id > gen_random_uuid()',
    'notifications.notifications_recipient_id_key_key': `select told.*
    from jsonb_populate_record(null::events.event, '{"type": "member_joined", "data": {"channel_id": "a", "user_id": "b"}}') as event,
    notifications.notification_events(event) as told`,
    'notifications.notifications_recipient_id_type_id_idx': `select notifications._notify(${someone}, 'mention', actor_id => null)`,
    'notifications.notifications_recipient_id_read_at_type_idx': 'select notifications.notification_counts()',
    'notifications.notifications_channel_id_idx': `delete from chat.channels where id = ${somewhere}`,
    'notifications.notifications_actor_id_idx': `delete from identity.users where id = ${someone}`,
    'notifications.notifications_created_at_idx': 'select notifications.expire()',
    'notifications.notification_settings_pkey': `select notifications.set_notifications(${somewhere}, 'none')`,
    'notifications.calls_pkey': 'select * from notifications._new',
    'notifications.calls_created_at_idx': 'select notifications.expire()',
    'notifications.notifications_message_id_idx': removal,
  },
  rows: `
  insert into notifications.notifications (recipient_id, type, actor_id, channel_id, message_id, key, created_at, read_at)
    select who.id, 'mention', who.id, room.id, public.uuid_v7(), 'key' || step, now() - case when step = 0 then interval '100 days' else interval '0' end,
      case when step <> 1 then now() end
    from generate_series(0, 9) as step cross join who join room on room.n = (who.n + step * 31) % 3000 + 1 order by step;
  insert into notifications.notification_settings (channel_id, user_id, level) select channel_id, user_id, 'mentions' from chat.members;
  insert into notifications.calls (channel_id, seq, created_at)
    select id, seq, now() - case when n % 100 = 0 then interval '100 days' else interval '0' end from room, generate_series(1, 4) as seq;
  `,
};
