import t from 'tap';
import type { Person } from '../world.ts';
import { openFilesWorld } from './files-world.ts';

const forward = `mutation ($messageId: UUID!, $channelId: UUID!, $nonce: String) {
  forwardMessage(input: {messageId: $messageId, channelId: $channelId, nonce: $nonce}) {
    message { id kind text files { nodes { id name } } }
  }
}`;
const see = 'query ($id: UUID!) { file(id: $id) { name url } }';

t.test('C12 a forwarded message has the files of its original', async (t) => {
  const { alice, bob, mallory, room, ask, upload, download, sql, cleanUp, stored } = await openFilesWorld(
    t,
    'a folder',
  );
  const roomOf = async ({ token }: Person): Promise<string> =>
    (await ask('mutation { createRoom(input: {name: "Den"}) { channel { id } } }', {}, token)).data.createRoom.channel
      .id;
  const sent = async (person: Person, names: string[]) => {
    const fileIds: string[] = [];
    for (const name of names)
      fileIds.push((await upload(person, { name, bytes: `${name} of ${person.username}` })).data.uploadFile.file.id);
    const { data } = await ask(
      'mutation ($channelId: UUID!, $fileIds: [UUID!]!) { sendFiles(input: {channelId: $channelId, fileIds: $fileIds}) { message { id } } }',
      { channelId: room, fileIds },
      person.token,
    );
    return { id: data.sendFiles.message.id as string, fileIds };
  };
  const remove = (person: Person, id: string) =>
    ask('mutation ($id: UUID!) { deleteMessage(input: {id: $id}) { message { id } } }', { id }, person.token);

  t.test('in their order, without a copy, for whoever sees the forward', async (t) => {
    const { id, fileIds } = await sent(alice, ['one.txt', 'two.txt']);
    const den = await roomOf(bob);
    const before = await stored();
    const used = () => sql('select user_id, bytes, files from files.usage order by user_id');
    const usage = await used();
    const { message } = (await ask(forward, { messageId: id, channelId: den }, bob.token)).data.forwardMessage;
    t.match(message, { kind: 'FILE', files: { nodes: [{ name: 'one.txt' }, { name: 'two.txt' }] } });
    t.strictSame(
      message.files.nodes.map(({ id }: { id: string }) => id),
      fileIds,
      'the same files',
    );
    t.strictSame(await stored(), before, 'no bytes were written');
    t.strictSame(await used(), usage, 'and nobody’s quota is used');
    t.equal((await ask(see, { id: fileIds[0] }, mallory.token)).data.file, null, 'who sees neither');
    await sql("insert into chat.members (channel_id, user_id, role) values ($1, $2, 'member')", [den, mallory.id]);
    const { file } = (await ask(see, { id: fileIds[0] }, mallory.token)).data;
    t.equal(file.name, 'one.txt', 'who is where it went');
    t.equal(await (await download(file.url)).text(), 'one.txt of alice');
  });

  t.test('twice with one nonce, at once or later, it is one message with its files', async (t) => {
    const { id } = await sent(alice, ['nonce.txt']);
    const den = await roomOf(bob);
    const variables = { messageId: id, channelId: den, nonce: 'n' };
    const answers = await Promise.all([ask(forward, variables, bob.token), ask(forward, variables, bob.token)]);
    answers.push(await ask(forward, variables, bob.token));
    const made = answers.map(({ data }) => data.forwardMessage.message);
    t.equal(new Set(made.map((message) => message.id)).size, 1);
    t.strictSame(
      await sql('select count(*)::integer as files from files.attachments where message_id = $1', [made[0].id]),
      [{ files: 1 }],
    );
  });

  t.test('a file goes when the last message that has it goes', async (t) => {
    const { id, fileIds } = await sent(alice, ['last.txt']);
    const den = await roomOf(bob);
    const { message } = (await ask(forward, { messageId: id, channelId: den }, bob.token)).data.forwardMessage;
    await remove(alice, id);
    await cleanUp();
    t.equal((await ask(see, { id: fileIds[0] }, bob.token)).data.file.name, 'last.txt', 'the forward has it');
    await remove(bob, message.id);
    await cleanUp();
    t.equal((await ask(see, { id: fileIds[0] }, alice.token)).data.file, null);
  });

  t.test('nothing is forwarded of what one may not read, or where one may not write', async (t) => {
    const { id } = await sent(alice, ['secret.txt']);
    const [hers, his] = [await roomOf(mallory), await roomOf(bob)];
    const before = await sql('select count(*) from files.attachments');
    const codes = [];
    for (const [channelId, person] of [
      [hers, mallory],
      [hers, bob],
      [his, undefined],
    ] as const)
      codes.push((await ask(forward, { messageId: id, channelId }, person?.token)).errors?.[0]?.extensions?.code);
    t.strictSame(codes, ['NOT_FOUND', 'NOT_FOUND', 'FORBIDDEN']);
    t.strictSame(await sql('select count(*) from files.attachments'), before);
  });
});
