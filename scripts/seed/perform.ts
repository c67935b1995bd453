import { z } from 'zod';
import type { Callers, Runner } from '../../functions/callers.ts';
import {
  addMember,
  type Channel,
  createRoom,
  deleteMessage,
  editMessage,
  joinRoom,
  type Message,
  markRead,
  myChannels,
  openDirect,
  sendMessage,
} from '../../functions/generated/chat.ts';
import { requestCode, updateProfile, verifyCode } from '../../functions/generated/identity.ts';
import { type Conversation, type Line, type Person, readLines } from './world.ts';

// What people do, done as themselves: with a code from their phone, and with no other rights than theirs. Each step may be done
// again and changes nothing then, so that a seed that was stopped goes on.

/** Someone who is signed in. */
export type SignedIn = { id: string; run: Runner };

const claims = z.object({ sub: z.string(), sid: z.string(), role: z.enum(['member', 'operator']) });
const textMessage = z.object({ text: z.string() });

/** Signs up, or in who is known. */
export async function signIn({ as }: Callers, { phone, displayName }: Person): Promise<SignedIn> {
  const anyone = as({ role: 'anonymous', claims: { user_agent: 'npm run seed' } });
  const request = await requestCode(anyone, { phone, displayName });
  const [code = ''] = /\d{6}/.exec(textMessage.parse(request?.delivery).text) ?? [];
  const session = there(await verifyCode(anyone, { requestId: request.id ?? '', code }));
  const { sub, sid, role } = claims.parse(session.accessToken);
  return { id: sub, run: as({ role, claims: { sub, sid } }) };
}

/** Tells of themselves. @returns the name they go by: another one than they wanted where that is taken. */
export async function introduce({ run }: SignedIn, { username, location, bio }: Person): Promise<string> {
  const { username: given } = there(await updateProfile(run, { location, bio }));
  try {
    return there(await updateProfile(run, { username })).username;
  } catch (error) {
    if ((error as { code?: string }).code !== uniqueViolation) throw error;
    return given;
  }
}

const uniqueViolation = '23505';

/** Says everything in a conversation, and lets its people read it. */
export async function converse(conversation: Conversation, everyone: Map<string, SignedIn>): Promise<void> {
  const { people, unread } = conversation;
  const person = (name: string): SignedIn => everyone.get(name) as SignedIn;
  const channel = await openChannel(conversation, people.map(person));
  const last = new Map<string, Message>();
  let newest: Message | undefined;
  for (const line of readLines(conversation)) {
    newest = await say(person(line.who).run, channel, line, line.answers ? last.get(line.answers) : undefined);
    if (!line.deleted) last.set(line.who, newest);
  }
  for (const name of people) {
    const seq = Number(newest?.seq ?? 0) - (unread[name] ?? 0);
    await markRead(person(name).run, { channelId: channel.id, seq: String(seq) });
  }
}

async function openChannel({ room }: Conversation, [first, ...others]: SignedIn[]): Promise<Channel> {
  const { run } = first as SignedIn;
  if (!room) return there(await openDirect(run, { userId: (others[0] as SignedIn).id }));
  const channels = await myChannels(run);
  const channel =
    channels.find(({ name, ownerId }) => name === room.name && ownerId === first?.id) ??
    there(await createRoom(run, room));
  for (const other of others) {
    if (room.isPublic) await joinRoom(other.run, { channelId: channel.id });
    else await addMember(run, { channelId: channel.id, userId: other.id });
  }
  return channel;
}

async function say(run: Runner, channel: Channel, line: Line, answered: Message | undefined): Promise<Message> {
  const { text, nonce, edited, deleted } = line;
  const reply = answered ? { replyToId: answered.id } : {};
  const message = there(await sendMessage(run, { channelId: channel.id, text, nonce, ...reply }));
  if (edited && message.text === text) return there(await editMessage(run, { id: message.id, text: edited }));
  if (deleted && message.deletedAt === null) return there(await deleteMessage(run, { id: message.id }));
  return message;
}

function there<Value>(value: Value | null): Value {
  if (value === null) throw new Error('The database gave nothing back where it always gives something');
  return value;
}
