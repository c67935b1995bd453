import type pg from 'pg';
import type { Viewer } from './ground.ts';

/**
 * What is measured: one document for each system, and the variables that its requests take in turn. Hand-written resolvers answer
 * with Plinth's names, so that they take its document.
 */
export type Case = {
  name: string;
  plinth: string;
  postgraphile: string;
  variables: Record<string, unknown>[];
};

const page = `query Page($id: UUID!) {
  channel(id: $id) {
    name
    messages(first: 20) { nodes { id seq text sentAt sender { id username displayName avatarUrl } } }
  }
}`;

const pageOfPostgraphile = `query Page($id: UUID!) {
  channel: channelByRowId(rowId: $id) {
    name
    messages: messagesByChannelId(first: 20, orderBy: PRIMARY_KEY_DESC) {
      nodes { id: rowId seq text sentAt sender: identityUserBySenderId { id: rowId username displayName avatarUrl } }
    }
  }
}`;

const chats = `query Chats {
  myChannels(first: 20) {
    nodes { id kind name unread lastMessage { id text sentAt sender { id username } } }
  }
}`;

const chatsOfPostgraphile = `query Chats {
  myChannels(first: 20, orderBy: ACTIVE_AT_DESC) {
    nodes {
      id: rowId kind name
      unread { nodes }
      lastMessage: messageByLastMessageId { id: rowId text sentAt sender: identityUserBySenderId { id: rowId username } }
    }
  }
}`;

const message = `query Message($id: UUID!) {
  message(id: $id) { id text sentAt sender { id username displayName } }
}`;

const messageOfPostgraphile = `query Message($id: UUID!) {
  message: messageByRowId(rowId: $id) { id: rowId text sentAt sender: identityUserBySenderId { id: rowId username displayName } }
}`;

/** What is read: rooms and messages of the viewer, the same for every system. */
export async function readCases(owner: pg.Client, viewer: Viewer): Promise<Case[]> {
  const { rows } = await owner.query(
    'select id from (select id, row_number() over (order by id) as place from chat.messages) as m where place % 350 = 0',
  );
  const ids = (list: string[]) => list.map((id) => ({ id }));
  return [
    {
      name: 'a page of 20 messages with their senders',
      plinth: page,
      postgraphile: pageOfPostgraphile,
      variables: ids(viewer.rooms),
    },
    {
      name: 'the chat list: last message, sender, unread',
      plinth: chats,
      postgraphile: chatsOfPostgraphile,
      variables: [{}],
    },
    {
      name: 'one message by its id',
      plinth: message,
      postgraphile: messageOfPostgraphile,
      variables: ids(rows.map(({ id }) => id)),
    },
  ];
}

const send = `mutation Send($channelId: UUID!, $text: String!) {
  sendMessage(input: { channelId: $channelId, text: $text }) { message { id seq } }
}`;

const sendOfPostgraphile = `mutation Send($channelId: UUID!, $text: String!) {
  sendMessage(input: { channelId: $channelId, text: $text }) { message: result { id: rowId seq } }
}`;

/** What is written: short messages into every channel of the viewer in turn. */
export function writeCase({ rooms, direct }: Viewer): Case {
  const text = 'A short message, as people write them.';
  const variables = [...rooms, ...direct].map((channelId) => ({ channelId, text }));
  return { name: 'sendMessage', plinth: send, postgraphile: sendOfPostgraphile, variables };
}
