import type { Answer, Person, World } from '../world.ts';

/** What people do in the tests of events, each a request of its own. */
export function openActs({ ask }: Pick<World, 'ask'>) {
  const done = async (
    by: Person,
    mutation: string,
    input: object,
    selection = '__typename',
  ): Promise<Answer['data']> => {
    const type = `${mutation[0]?.toUpperCase()}${mutation.slice(1)}Input`;
    const text = `mutation($input: ${type}!) { ${mutation}(input: $input) { ${selection} } }`;
    const { data, errors } = await ask(text, { input }, by.token);
    if (errors) throw new Error(`${mutation} by ${by.username}: ${JSON.stringify(errors)}`);
    return data[mutation];
  };
  return {
    done,
    async room(by: Person, members: Person[] = [], isPublic = false): Promise<string> {
      const { channel } = await done(by, 'createRoom', { name: 'Room', isPublic }, 'channel { id }');
      for (const { id: userId } of members) await done(by, 'addMember', { channelId: channel.id, userId });
      return channel.id;
    },
    async direct(by: Person, other: Person): Promise<string> {
      return (await done(by, 'openDirect', { userId: other.id }, 'channel { id }')).channel.id;
    },
    async send(by: Person, channelId: string, text: string): Promise<string> {
      return (await done(by, 'sendMessage', { channelId, text }, 'message { id }')).message.id;
    },
    edit: (by: Person, id: string, text: string) => done(by, 'editMessage', { id, text }),
    delete: (by: Person, id: string) => done(by, 'deleteMessage', { id }),
    join: (by: Person, channelId: string) => done(by, 'joinRoom', { channelId }),
    leave: (by: Person, channelId: string) => done(by, 'leaveChannel', { channelId }),
    add: (by: Person, channelId: string, { id: userId }: Person) => done(by, 'addMember', { channelId, userId }),
    remove: (by: Person, channelId: string, { id: userId }: Person) => done(by, 'removeMember', { channelId, userId }),
    read: (by: Person, channelId: string, seq?: number) => done(by, 'markRead', { channelId, ...(seq && { seq }) }),
    typing: (by: Person, channelId: string) => done(by, 'setTyping', { channelId }),
    presence: (by: Person, status: string) => done(by, 'setPresence', { status }),
    /** The cursor that belongs to now. */
    cursor: async (): Promise<string> => (await ask('{ cursor }')).data.cursor,
  };
}
