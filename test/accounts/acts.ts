import type { Answer, Person, World } from '../world.ts';

export const codeOf = (answer: Answer): string | undefined => answer.errors?.[0]?.extensions?.code;

/** What the tests of accounts do again and again, each as a user through the API. */
export function actsIn({ ask, owner }: World) {
  const made = async (by: Person, mutation: string, input: object): Promise<Record<string, string>> => {
    const [, name = '', result = ''] = /^(\w+) (\w+)/.exec(mutation) ?? [];
    const type = `${name.charAt(0).toUpperCase()}${name.slice(1)}Input`;
    const answer = await ask(
      `mutation ($input: ${type}!) { ${name}(input: $input) { ${result} { id } } }`,
      { input },
      by.token,
    );
    if (answer.errors) throw new Error(JSON.stringify(answer.errors));
    return answer.data[name][result];
  };
  return {
    room: async (by: Person, name = 'room', isPublic = true): Promise<string> =>
      (await made(by, 'createRoom channel', { name, isPublic })).id as string,
    direct: async (by: Person, userId: string): Promise<string> =>
      (await made(by, 'openDirect channel', { userId })).id as string,
    join: (by: Person, channelId: string): Promise<Answer> =>
      ask(
        'mutation ($id: UUID!) { joinRoom(input: { channelId: $id }) { member { role } } }',
        { id: channelId },
        by.token,
      ),
    say: async (by: Person, channelId: string, text: string): Promise<string> =>
      (await made(by, 'sendMessage message', { channelId, text })).id as string,
    /** A message of so many days ago, as an import writes it. */
    sayEarlier: async (channelId: string, sender: Person, days: number, text: string): Promise<void> => {
      await owner.query("select operations.ensure_partitions(now() - interval '1 year')");
      await owner.query(
        `select chat._post(channel, $2, 'text', $3, null, null, '{}', now() - make_interval(days => $4))
        from chat.channels as channel where id = $1`,
        [channelId, sender.id, text, days],
      );
    },
    /** Any mutation whose result is a row or value of that name. */
    act: (by: Person | undefined, name: string, input: object, result: string): Promise<Answer> => {
      const type = `${name.charAt(0).toUpperCase()}${name.slice(1)}Input`;
      return ask(`mutation ($input: ${type}!) { ${name}(input: $input) { ${result} } }`, { input }, by?.token);
    },
    texts: async (by: Person, channelId: string): Promise<string[]> => {
      const { data } = await ask(
        'query ($id: UUID!) { channel(id: $id) { messages(last: 100) { nodes { text } } } }',
        { id: channelId },
        by.token,
      );
      return data.channel.messages.nodes.map(({ text }: { text: string }) => text).reverse();
    },
  };
}
