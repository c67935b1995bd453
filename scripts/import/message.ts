/**
 * A message as an archive has it, in the words of chat.import_messages; `line` is where it begins in its file. Whether it can be
 * taken, SQL decides.
 */
export type Message = Record<
  'room_id' | 'room' | 'sent_at' | 'user_id' | 'username' | 'message_id' | 'text',
  string
> & { line: number };

/** A row that could not be read. */
export type Bad = { line: number; reason: string };
