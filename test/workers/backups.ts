import { randomBytes } from 'node:crypto';
import path from 'node:path';
import pg from 'pg';
import pino from 'pino';
import type { Test } from 'tap';
import { readSettings } from '../../functions/settings.ts';
import type { BackupWork } from '../../workers/task.ts';
import { temporaryFolder } from '../running-plinth.ts';
import type { World } from '../world.ts';

export const key = (): string => randomBytes(32).toString('base64url');

/** What backups of a database have to work with: a folder of their own, and what they said. */
export type Bench = BackupWork & {
  folder: string;
  env: Record<string, string>;
  said: { level: number; msg: string }[];
  /** The same with other settings. */
  with(env: Record<string, string>, databaseUrl?: string): BackupWork;
};

export function openBench(t: Test, databaseUrl: string, given: Record<string, string> = {}): Bench {
  const data = temporaryFolder(t);
  const folder = path.join(data, 'backups');
  const env = { PLINTH_DATA: data, BACKUP_STORAGE: folder, DATABASE_URL: databaseUrl, ...given };
  const said: Bench['said'] = [];
  const log = pino({ base: null }, { write: (line: string) => void said.push(JSON.parse(line)) });
  const make = (more: Record<string, string>, url = databaseUrl): BackupWork => ({
    databaseUrl: url,
    settings: readSettings({ ...env, ...more }),
    signal: new AbortController().signal,
    progress() {},
    log,
  });
  return { ...make({}), folder, env, said, with: make };
}

/** A room in which two people have talked, in several months, with everything that text can hold. */
export async function fill(world: World, messages = 60): Promise<string> {
  const { owner, ask, person } = world;
  const ann = await person('ann');
  const bob = await person('bob');
  const { data } = await ask(
    'mutation ($input: CreateRoomInput!) { createRoom(input: $input) { channel { id } } }',
    { input: { name: 'Sœurs \\ "Привет"\t日本', isPublic: true } },
    ann.token,
  );
  const room = data.createRoom.channel.id;
  await ask(
    'mutation ($input: JoinChannelInput!) { joinChannel(input: $input) { member { role } } }',
    { input: { channelId: room } },
    bob.token,
  );
  const batch = Array.from({ length: messages }, (_, index) => ({
    line: index,
    message_id: `m${index}`,
    room_id: 'r1',
    room: 'Old room',
    user_id: `u${index % 3}`,
    username: `old${index % 3}`,
    sent_at: new Date(Date.UTC(2025, index % 7, 3, 4, 5, index)).toISOString(),
    text: `line ${index}\nwith \\N and \ttabs, 'quotes' and 🙂`,
  })).sort((one, other) => (one.sent_at < other.sent_at ? -1 : 1));
  const { rows } = await owner.query('select * from chat.import_messages($1, $2)', ['gitter', JSON.stringify(batch)]);
  if (rows[0].added !== messages) throw new Error(JSON.stringify(rows[0]));
  const send = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }';
  for (const [text, by] of [
    ['one', ann],
    ['two', bob],
    ['three', ann],
  ] as const)
    await ask(send, { input: { channelId: room, text } }, by.token);
  return room;
}

/** All that a database holds, as text; without what a restore changes. */
export async function contents(databaseUrl: string): Promise<Record<string, string[]>> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    const { rows } = await client.query(
      `select relnamespace::regnamespace || '.' || relname as name from pg_class
      where relkind in ('r', 'p') and not relispartition and relnamespace::regnamespace::text in ('public', 'identity', 'chat', 'events')
        and oid <> 'events.restores'::regclass order by 1`,
    );
    const found: Record<string, string[]> = {};
    for (const { name } of rows) {
      const without = `- '{xid,seq,last_seq,event_seq,searched,id,forgotten}'::text[]`;
      const kept = ['events.log', 'events.topics', 'chat.channels', 'events.topic_kinds'].includes(name) ? without : '';
      const text = await client.query(`select (to_jsonb(t) ${kept})::text as row from ${name} as t order by 1`);
      found[name] = text.rows.map(({ row }) => row);
    }
    return found;
  } finally {
    await client.end();
  }
}
