import type { Random } from '../../chaos/random.ts';

/** What someone does in a messenger, as often as given for each message that they send. */
export type Action = keyof typeof weights;

/**
 * The day of a real messenger. Mattermost measured it among its customers, and its load test goes by it: mattermost-load-test-ng,
 * loadtest/control/simulcontroller/controller.go, rounded; what is rarer than 0.03 is left out, and threads are one figure (to list
 * them, read one, mark one read: 0.6 reads of a thread here).
 */
export const weights = {
  'switch channel': 6.5,
  scroll: 2,
  'unread check': 1,
  'open direct chat': 1,
  'send message': 1,
  'read thread': 0.6,
  reconnect: 0.14,
  'add reaction': 0.13,
  search: 0.05,
  'edit message': 0.04,
} as const;

/** Which share of the channels that are opened and written to are direct chats. */
export const directShare = 0.75;
/** Which share of messages answers another (PercentReplies of Mattermost's load test). */
export const replyShare = 0.18;
/** Which share of the direct chats that are opened is with someone new (its CreateDirectChannel, 0.0055, to OpenDirectOrGroupChannel, 0.98). */
export const newShare = 0.0056;

const sum = Object.values(weights).reduce((all, weight) => all + weight, 0);

export function pickAction(random: Random): Action {
  let left = (random.below(1e9) / 1e9) * sum;
  for (const [action, weight] of Object.entries(weights)) {
    left -= weight;
    if (left < 0) return action as Action;
  }
  return 'switch channel';
}

export const isLikely = (random: Random, share: number): boolean => random.below(1e6) < share * 1e6;

/**
 * How long an active user waits after an action, in milliseconds: evenly from 1 to 39 s, 20 s in the mean, so some three actions a minute.
 * That is the pace of Mattermost's load test (MinIdleTimeMs 1000, AvgIdleTimeMs 20000 of its simulcontroller, PickIdleTimeMs).
 */
export const idleTime = (random: Random): number => random.between(1_000, 39_000);

/** What is asked of the server. `state` begins a session: everything that is followed, with the cursor to follow from. */
export const documents = {
  state: `query State {
    cursor
    myChannels(first: 100) {
      pageInfo { hasNextPage }
      nodes { id kind name lastSeq unread otherUser { id username displayName } lastMessage { text sentAt sender { username } } }
    }
  }`,
  page: `query Page($id: UUID!) {
    cursor
    channel(id: $id) {
      name lastSeq unread
      messages(first: 30) {
        nodes {
          id seq text sentAt editedAt replyToId replyCount
          sender { id username displayName avatarUrl }
          reactions { nodes { emoji count mine } }
        }
        pageInfo { endCursor hasNextPage }
      }
    }
  }`,
  older: `query Older($id: UUID!, $after: String!) {
    channel(id: $id) {
      messages(first: 30, after: $after) {
        nodes {
          id seq text sentAt editedAt replyToId replyCount
          sender { id username displayName avatarUrl }
          reactions { nodes { emoji count mine } }
        }
        pageInfo { endCursor hasNextPage }
      }
    }
  }`,
  markRead: `mutation Read($id: UUID!, $seq: BigInt!) {
    markRead(input: {channelId: $id, seq: $seq}) { channel { id unread } }
  }`,
  unread: `query Unread {
    unreadTotal
    notificationCounts { unread mentions messages channels }
    myChannels(first: 20) { nodes { id lastSeq unread lastMessage { text sentAt sender { username } } } }
  }`,
  openDirect: `mutation Open($userId: UUID!) {
    openDirect(input: {userId: $userId}) { channel { id lastSeq unread otherUser { username displayName } } }
  }`,
  send: `mutation Send($id: UUID!, $text: String!, $nonce: String!, $replyToId: UUID) {
    sendMessage(input: {channelId: $id, text: $text, nonce: $nonce, replyToId: $replyToId}) { message { id seq sentAt } }
  }`,
  thread: `query Thread($id: UUID!) {
    message(id: $id) {
      id text replyCount sender { username }
      replies(first: 30) { nodes { id seq text sentAt sender { id username displayName avatarUrl } } }
    }
  }`,
  react: `mutation React($id: UUID!, $emoji: String!) {
    addReaction(input: {messageId: $id, emoji: $emoji}) { message { id reactions { nodes { emoji count mine } } } }
  }`,
  search: `query Search($query: String!) {
    searchMessages(query: $query, first: 20) { nodes { id text sentAt channel { id name } sender { username } } }
  }`,
  edit: `mutation Edit($id: UUID!, $text: String!) {
    editMessage(input: {id: $id, text: $text}) { message { id text editedAt } }
  }`,
  /** What becomes unread in any channel, for the list of channels: how much is unread there, clients count by `seq`. */
  follow: `subscription Follow($after: String!) {
    userEvents(after: $after) {
      event { cursor topic type timestamp data }
      channel { id kind name lastSeq lastMessage { text sender { username } } }
    }
  }`,
  /** The messages of the channel that is on the screen. */
  watch: `subscription Watch($id: UUID!, $after: String!) {
    messageEvents(channelId: $id, after: $after) {
      event { cursor topic type timestamp data }
      message { id seq text sentAt editedAt sender { id username displayName avatarUrl } }
    }
  }`,
} as const;

/** Asks for what everyone has not read, when the day is over. */
export const unreadOfAll = `query UnreadOfAll {
  unreadTotal
  myChannels(first: 100) { pageInfo { hasNextPage } nodes { id unread } }
}`;

export const emoji = ['👍', '❤️', '😄', '🎉', '👀', '🙏'];
