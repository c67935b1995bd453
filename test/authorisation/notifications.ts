import type { Section } from './section.ts';

export const notifications: Section = {
  users: ['member', 'operator', 'service'],
  tables: {
    'notifications.notifications': {
      readers: ['member'],
      columns: 'recipient_id id type channel_id message_id actor_id title text data key created_at read_at',
    },
    'notifications.notification_settings': { readers: ['member'], columns: 'channel_id user_id level muted_until' },
    'notifications.calls': { readers: [], columns: '' },
    'notifications._own': { readers: ['member'], columns: 'id' },
    'notifications._heard': { readers: ['member'], columns: 'channel_id read_seq unread level' },
    'notifications._calls': { readers: ['member'], columns: 'channel_id seq' },
    'notifications._new': { readers: ['member'], columns: 'channel_id unread' },
  },
  functions: {
    'notifications._everyone()': ['member'],
    'notifications.listen()': ['member'],
    'notifications.mark_everything_read()': ['member'],
    'notifications.mark_notifications_read(uuid[])': ['member'],
    'notifications.my_notification_settings(chat.channels)': ['member'],
    'notifications.new_message_events(events.event)': ['member'],
    'notifications.new_messages()': ['member'],
    'notifications.notification_counts()': ['member'],
    'notifications.notification_events(events.event)': ['member'],
    'notifications.send_alert(text,text,uuid[])': ['operator', 'service'],
    'notifications.set_notifications(uuid,notifications.notification_level,timestamp with time zone)': ['member'],
  },
  privateFunctions: [
    'notifications._call_room(uuid,bigint)',
    'notifications._forget_user()',
    'notifications._mark_read(uuid[])',
    'notifications._notify(uuid,notifications.notification_type,uuid,uuid,uuid,text,text,jsonb,text,boolean)',
    'notifications._tell_invited()',
    'notifications._tell_leaders()',
    'notifications._tell_mentioned()',
    'notifications.expire()',
  ],
};
