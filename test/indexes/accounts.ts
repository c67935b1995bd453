import { type Section, someone, somewhere } from './section.ts';

export const accounts: Section = {
  uses: {
    'accounts.acts_pkey': null,
    'accounts.acts_operator_id_id_idx': `select * from accounts.acts where operator_id = ${someone} order by id desc limit 20`,
    'accounts.acts_user_id_id_idx': `select * from accounts.acts where user_id = ${someone} order by id desc limit 20`,
    'accounts.legal_holds_pkey': null,
    'accounts.legal_holds_user_id_key': `select accounts._is_held(null, ${someone})`,
    'accounts.legal_holds_channel_id_key': `select accounts._is_held(${somewhere}, null)`,
    'accounts.retentions_pkey': `delete from chat.channels where id = ${somewhere}`,
    'accounts.retentions_expired_at_idx': 'select accounts.expire_messages()',
    'accounts.exports_pkey': null,
    'accounts.exports_user_id_id_idx': `select * from accounts.exports where user_id = ${someone} order by id desc limit 20`,
    'accounts.exports_run_id_idx': 'delete from jobs.runs where id = (select id from jobs.runs limit 1)',
    'accounts.exports_user_id_nonce_key': null,
    'accounts.exports_expires_at_idx': 'select accounts._kept_exports()',
    'accounts.export_links_pkey': null,
    'accounts.export_links_token_hash_key': "select accounts._export_file('token77')",
    'accounts.organization_retentions_pkey': null,
  },
  rows: `
  insert into accounts.acts (kind, operator_id, user_id, reason) select 'impersonated', id, id, 'why' from who where n <> 77;
  insert into accounts.legal_holds (user_id, reason) select id, 'why' from who where n between 100 and 2000;
  insert into accounts.legal_holds (channel_id, reason) select id, 'why' from room where n between 200 and 2000;
  insert into accounts.retentions (channel_id, days) select id, 300 from room;
  insert into accounts.exports (user_id, run_id, expires_at)
    select who.id, (select id from jobs.runs where asked_by = who.id limit 1), now() + n * interval '1 hour' - interval '5 hours' from who;
  insert into accounts.export_links (export_id, token_hash)
    select id, sha256(convert_to('token' || row_number() over (), 'UTF8')) from accounts.exports;
  `,
};
