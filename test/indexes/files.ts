import { type Section, someone, somewhere } from './section.ts';

const upload = `(select id from files.file_uploads where owner_id = ${someone})`;

export const files: Section = {
  uses: {
    'files.limits_pkey': null,
    'files.quotas_pkey': null,
    'files.link_keys_pkey': null,
    'files.usage_pkey': 'select files.my_file_usage()',
    'files.leftovers_pkey': "select files._removed('{content/77}')",
    'files.leftovers_remove_at_idx': 'select files._due_leftovers(10)',
    'files.contents_pkey': `select files._previewed((select id from files.contents where bytes = 77), 1, 1, 'content/77', 1, 1, 1)`,
    'files.contents_sha256_key': `select files.received(${upload}, 'content/77', sha256('77'), 77, 'text/plain')`,
    'files.contents_loose_since_idx': 'select files.expire_files()',
    'files.files_pkey': 'select file.* from (select * from chat.messages limit 1) as m, files.files(m) as file',
    'files.files_owner_id_id_idx': 'select * from files.my_files() order by id desc limit 20',
    'files.files_content_id_idx': `select files._previewed((select id from files.contents where bytes = 77), 1, 1, 'content/77', 1, 1, 1)`,
    'files.files_loose_since_idx': 'select files.expire_files()',
    'files.files_expires_at_idx': 'select files.expire_files()',
    'files.attachments_pkey': 'select file.* from (select * from chat.messages limit 1) as m, files.files(m) as file',
    'files.attachments_file_id_idx': 'select files.delete_file((select id from files.files where bytes = 77))',
    'files.attachments_channel_id_idx': `delete from chat.channels where id = ${somewhere}`,
    'files.file_uploads_pkey': `select files.complete_upload(${upload})`,
    'files.file_uploads_owner_id_id_idx': `select * from files.file_uploads where owner_id = ${someone} order by id desc limit 20`,
    'files.file_uploads_content_id_idx': 'select files.expire_files()',
    'files.file_uploads_file_id_idx': 'select files.delete_file((select id from files.files where bytes = 77))',
    'files.file_uploads_expires_at_idx': 'select files.expire_files()',
  },
  rows: `
  insert into files.usage (user_id) select id from who;
  insert into files.leftovers select 'content/' || n, now() + case when n % 100 = 0 then -interval '1 hour' else interval '1 hour' end from who;
  insert into files.contents (sha256, stored, bytes, media_type, loose_since)
    select sha256(convert_to(n::text, 'UTF8')), 'stored/' || n, n, 'image/png', case when n % 100 = 0 then now() - interval '2 hours' end from who;
  insert into files.files (owner_id, content_id, name, media_type, bytes, sha256, loose_since)
    select who.id, content.id, 'file', 'image/png', content.bytes, content.sha256, case when n % 100 = 0 then now() - interval '2 days' end
    from who join files.contents as content on content.bytes = n;
  insert into files.attachments (message_id, position, file_id, channel_id)
    select message.id, 1, file.id, message.channel_id
    from chat.messages as message join files.files as file on file.owner_id = message.sender_id and file.bytes not in (77, 100)
    where message.seq > 1;
  insert into files.file_uploads (owner_id, name, bytes, incoming, content_id, state, file_id, expires_at)
    select who.id, 'file', n, 'incoming/' || n, content.id, case when n % 2 = 0 then 'done' else 'open' end::files.upload_state,
      case when n % 2 = 0 then file.id end, now() + case when n % 100 = 0 then -interval '1 hour' else interval '1 hour' end
    from who join files.files as file on file.owner_id = who.id join files.contents as content on content.id = file.content_id;
  `,
};
