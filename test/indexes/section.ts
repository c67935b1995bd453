/** What indexes are for, and the rows among which they are worth it, of one schema. */
export type Section = {
  /**
   * For each index a statement that the API or its upkeep runs, in whose plans, those of the functions and foreign keys inside it
   * included, the index must appear. Null for one that only keeps what is unique unique.
   */
  uses: Record<string, string | null>;
  /**
   * Enough of everything that reading all of it costs more than an index. User 77 and what is around them are what is asked for.
   * Tables for a while: `who` are the users, `room` the rooms, `office` the organizations, with n from 1 to 3,000.
   */
  rows: string;
};

// User 77, and what is around them.
export const someone = "(select id from identity.users where username = 'user77')";
export const somewhere = `(select channel_id from chat.members where user_id = ${someone} limit 1)`;
export const bot = `(select id from platforms.integrations where user_id = ${someone})`;
export const office = "(select id from organizations.organizations where name = 'office 77')";
export const part = "(select id from organizations.departments where name = 'part 77')";

export const imported = `select chat.import_messages('gitter', '[{
  "message_id": "new", "user_id": "77", "username": "x", "room_id": "77", "room": "x", "sent_at": "2026-01-01T00:00:00Z", "text": "x"
}]')`;
export const removal = 'delete from chat.messages where id = (select id from chat.messages where seq = 3 limit 1)';
