import type { Section } from './section.ts';

export const webhooks: Section = {
  users: ['member', 'operator'],
  tables: {
    'webhooks.webhooks': {
      readers: ['member'],
      columns: 'id channel_id owner_id url types failures created_at delivered_at disabled_at',
    },
    'webhooks.secrets': { readers: [], columns: '' },
  },
  functions: {
    'webhooks.create_webhook(uuid,text,text[])': ['member'],
    'webhooks.remove_webhook(uuid)': ['member'],
  },
  privateFunctions: [
    'webhooks._enqueue(uuid,jsonb)',
    'webhooks._delivery(uuid,jsonb)',
    'webhooks._note(uuid,boolean,boolean)',
    'webhooks._hand_over()',
  ],
};
