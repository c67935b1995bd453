/** A message as an archive has it; `line` is where it begins in its file. Whether it can be taken, SQL decides. */
export type Message = {
  line: number;
  roomId: string;
  room: string;
  sentAt: string;
  userId: string;
  username: string;
  messageId: string;
  text: string;
};

/** A row that could not be read. */
export type Bad = { line: number; reason: string };
