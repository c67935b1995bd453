import { openOffice } from '../organizations/acts.ts';
import type { Person, World } from '../world.ts';

// One of everything that a mutation can name by an id or a name.

type Input = Record<string, unknown>;
export type People = Record<'alice' | 'bob' | 'operator', Person>;
export type Things = {
  /** What arguments name, whatever the mutation. */
  named: Input;
  /** What the arguments of some mutations name instead. */
  of: Record<string, Input>;
};

/**
 * Gives what makes things anew each time. They are alice's, or such as alice may answer to; what only an operator may name is there,
 * too. Nothing works on the jobs that they lead to.
 */
export async function openThings(world: World, { alice, bob, operator }: People): Promise<() => Promise<Things>> {
  const { done, found, role, department } = openOffice(world);
  const [inside, outside, barred] = [
    await world.person('inside'),
    await world.person('outside'),
    await world.person('barred'),
  ];
  const one = async (text: string, values: unknown[] = []): Promise<string> =>
    (await world.owner.query({ text, values, rowMode: 'array' })).rows[0]?.[0];
  await one("insert into jobs.tasks (name) values ('nothing')");
  await one('update files.limits set open_uploads = 1000000, kept_uploads = 1000000');
  await one("insert into procurement.regions (code, name) values ('KZ-75', 'Almaty')");
  const room = async (by: Person, input: Input = {}): Promise<string> =>
    (await done(by, 'createRoom', { name: 'room', ...input }, 'channel { id }')).channel.id;
  const guarded = async (by: Person): Promise<string> => {
    const channelId = await room(by, { isPublic: true });
    await done(by, 'updateRoom', { channelId, requiresApproval: true });
    return channelId;
  };
  const said = async (channelId: string): Promise<string> =>
    (await done(alice, 'sendMessage', { channelId, text: 'hello' }, 'message { id }')).message.id;
  const later = async (channelId: string): Promise<string> => {
    const input = { channelId, text: 'later', sendAt: new Date(Date.now() + 86_400_000).toISOString() };
    return (await done(alice, 'scheduleMessage', input, 'scheduledMessage { id }')).scheduledMessage.id;
  };
  const link = async (by: Person, channelId: string): Promise<{ token: string; link: { id: string } }> =>
    (await done(by, 'createRoomLink', { channelId }, 'newRoomLink { token link { id } }')).newRoomLink;
  const invited = async (by: Person, organizationId: string, { id: userId }: Person): Promise<string> =>
    (await done(by, 'inviteToOrganization', { organizationId, userId }, 'organizationInvitation { id }'))
      .organizationInvitation.id;
  const upload = async (): Promise<string> =>
    (await done(alice, 'createUpload', { name: 'a.txt', bytes: '1' }, 'fileUpload { id }')).fileUpload.id;
  const run = async (isFailed = false): Promise<string> => {
    const id = await one("select (jobs.enqueue('nothing')).id");
    await one('update jobs.runs set asked_by = $2 where id = $1', [id, alice.id]);
    if (isFailed) await one("update jobs.runs set state = 'failed', finished_at = now() where id = $1", [id]);
    return id;
  };

  let turn = 0;
  return async () => {
    turn += 1;
    // Who invites alice, and who has what was made before: what one may own has limits.
    const host = await world.person(`host-${turn}`);
    await one('update organizations.organizations set owner_id = $2 where owner_id = $1', [alice.id, host.id]);
    const channelId = await room(alice, { isPublic: true });
    await done(alice, 'addMember', { channelId, userId: inside.id });
    await done(alice, 'muteMember', { channelId, userId: inside.id, seconds: 600 });
    await done(alice, 'banFromRoom', { channelId, userId: barred.id });
    await done(alice, 'inviteToRoom', { channelId, userId: outside.id });
    const door = await guarded(alice);
    for (const by of [inside, outside]) await done(by, 'requestToJoin', { channelId: door });
    const archived = await room(alice);
    await done(alice, 'archiveRoom', { channelId: archived });
    const held = await room(alice);
    await done(operator, 'placeHold', { reason: 'a case', channelId: held });

    const asking = await guarded(host);
    await done(alice, 'requestToJoin', { channelId: asking });
    const inviting = await room(host);
    await done(host, 'inviteToRoom', { channelId: inviting, userId: alice.id });
    const shared = await room(host);
    await done(host, 'addMember', { channelId: shared, userId: alice.id });

    const organizationId = await found(alice, [inside]);
    const closed = await found(alice);
    await done(alice, 'closeOrganization', { organizationId: closed });
    const [theirs, others] = [await found(host), await found(host)];
    const left = await found(host, [alice]);
    const departmentId = await department(alice, organizationId, 'one');
    const proxy = { organizationId, agentId: inside.id, permissions: { documents: ['read'] } };

    const botId = (await done(alice, 'createBot', { username: `robot-${turn}`, displayName: 'Robot' }, 'user { id }'))
      .user.id;
    const token = (await done(alice, 'createBotToken', { botId, name: 'one' }, 'botToken { id }')).botToken;
    const webhook = { channelId, url: 'https://plinth.test/hook', types: ['message_sent'] };

    const integrationId = await one(
      `insert into platforms.integrations (user_id, platform_id, status) values ($1, 'telegram', 'connected')
       on conflict (user_id, platform_id) do update set status = 'connected' returning id`,
      [alice.id],
    );
    const contact = await one(
      `insert into platforms.contacts (integration_id, external_id, name, user_id, linked_at)
       values ($1, $2, 'Vera', $3, now()) returning id`,
      [integrationId, `vera ${turn}`, alice.id],
    );
    const talk = await one(
      `select (platforms._conversation(place, contact.external_id, contact)).channel_id
       from platforms.integrations as place join platforms.contacts as contact on contact.integration_id = place.id
       where contact.id = $1`,
      [contact],
    );
    const unsent = await said(talk);
    await one("update platforms.deliveries set state = 'failed' where message_id = $1", [unsent]);

    const fileId = await one(
      `with content as (
         insert into files.contents (sha256, stored, bytes, media_type)
         values (sha256($2::bytea), 'content/' || $2, 1, 'text/plain') returning *
       )
       insert into files.files (owner_id, content_id, name, media_type, bytes, sha256, loose_since)
       select $1, id, 'a.txt', media_type, bytes, sha256, now() from content returning id`,
      [alice.id, `bytes ${turn}`],
    );
    const [uploadId, given] = [await upload(), await upload()];
    const exported = await one(
      `insert into accounts.exports (user_id, finished_at, file, bytes) values ($1, now(), 'exports/a.gz', 1) returning id`,
      [alice.id],
    );

    await done(operator, 'grantRegion', { userId: alice.id, regionCode: 'KZ-75' });
    const modelId = await one(
      `insert into procurement.growth_models (
         over_percent, features, means, deviations, coefficients, penalty, rounds, is_settled, split_on, trained,
         trained_grown, tested, tested_grown, auc, brier, base_rate_brier, calibration
       ) values (20, '{}', '{}', '{}', '{0}', 1, 1, true, '2026-01-01', 900, 90, 900, 90, 0.9, 0.01, 0.1, '[]') returning id`,
    );

    const named = {
      ...{ channelId, organizationId, botId, departmentId, uploadId, fileId, integrationId, modelId },
      ...{ messageId: await said(channelId), fileIds: [fileId], userId: bob.id, agentId: inside.id },
      positionId: (await done(alice, 'createPosition', { organizationId, title: 'one' }, 'position { id }')).position
        .id,
      roleId: await role(alice, organizationId, 'one', {}),
      invitationId: await invited(host, theirs, alice),
      proxyId: (await done(alice, 'grantProxy', proxy, 'proxy { id }')).proxy.id,
      ...{ fromUserId: alice.id, toUserId: inside.id, url: webhook.url, types: webhook.types },
      ...{ runId: await run(), task: 'nothing', queue: 'webhooks', cron: '0 0 1 1 *' },
      ...{
        indicatorCode: 'super_dumping',
        regionCode: 'KZ-75',
        thresholds: { percent: 31 },
        permissions: proxy.permissions,
      },
      ...{ emoji: '👍', platformId: 'telegram', seconds: 600 },
    };
    const ofInside = { userId: inside.id };
    const integration = { id: integrationId };
    return {
      named,
      of: {
        editMessage: { id: await said(channelId) },
        deleteMessage: { id: await said(channelId) },
        changeScheduledMessage: { id: await later(channelId) },
        cancelScheduledMessage: { id: await later(channelId) },
        revokeRoomLink: { id: (await link(alice, await room(alice))).link.id },
        joinByLink: { token: (await link(host, await room(host))).token },
        joinRoom: { channelId: await room(host, { isPublic: true }) },
        requestToJoin: { channelId: await guarded(host) },
        withdrawRequest: { channelId: asking },
        declineInvitation: { channelId: inviting },
        leaveChannel: { channelId: shared },
        approveRequest: { channelId: door, userId: inside.id },
        declineRequest: { channelId: door, userId: outside.id },
        withdrawInvitation: { userId: outside.id },
        unbanFromRoom: { userId: barred.id },
        unmuteMember: ofInside,
        muteMember: ofInside,
        changeMemberRole: ofInside,
        setMemberPermission: ofInside,
        removeMember: ofInside,
        handOverRoom: ofInside,
        reopenRoom: { channelId: archived },
        placeHold: { channelId: await room(alice) },
        releaseHold: { channelId: held },
        createExportLink: { id: exported },
        retry: { runId: await run(true) },
        setSchedule: { name: 'run indicators' },
        revokeBotToken: { id: token.id },
        removeWebhook: { id: (await done(alice, 'createWebhook', webhook, 'newWebhook { id }')).newWebhook.id },
        sendFiles: { fileIds: [fileId] },
        deleteFile: { fileId },
        cancelUploads: { ids: [given] },
        declineOrganizationInvitation: { invitationId: await invited(host, others, alice) },
        withdrawOrganizationInvitation: { invitationId: await invited(alice, organizationId, outside) },
        leaveOrganization: { organizationId: left },
        reopenOrganization: { organizationId: closed },
        releaseOrganizationRoom: {
          channelId: (await done(alice, 'createOrganizationRoom', { organizationId, name: 'room' }, 'channel { id }'))
            .channel.id,
        },
        assignDepartment: ofInside,
        assignPosition: ofInside,
        assignRole: ofInside,
        removeFromOrganization: ofInside,
        transferOrganization: ofInside,
        checkIntegration: integration,
        updateIntegration: integration,
        disconnectIntegration: integration,
        unlinkContact: { id: contact },
        assignConversation: { channelId: talk },
        setConversationState: { channelId: talk },
        setConversationStatus: { channelId: talk },
        resendMessage: { messageId: unsent },
      },
    };
  };
}
