import { type Section, someone, somewhere } from './section.ts';

export const webhooks: Section = {
  uses: {
    'webhooks.webhooks_pkey': null,
    'webhooks.webhooks_channel_id_idx': `delete from chat.channels where id = ${somewhere}`,
    'webhooks.webhooks_owner_id_idx': `select * from webhooks.webhooks where owner_id = ${someone} order by id desc limit 20`,
    'webhooks.secrets_pkey': null,
  },
  rows: `
  insert into webhooks.webhooks (channel_id, owner_id, url)
    select room.id, who.id, 'https://plinth.test' from who join room using (n);
  `,
};
