// Made from schema.sql by `npm run generate`.
import { mutation, query } from '../callers.ts';
import { arrayOf, keyOf, oneOf, optional, orNull, pg, row, setOf, type ValueOf } from '../kinds.ts';

/** A company, a club, a team: people with roles, departments and positions. */
export const Organization = row('organizations.organizations', {
  /** The key; rises with the time of creation. */
  id: pg.uuid,
  /** Its name, 1 to 100 characters. */
  name: pg.text,
  /** What it is. */
  description: orNull(pg.text),
  /** Who answers for it. */
  ownerId: orNull(pg.uuid),
  /** Whatever its clients want to keep for it, up to 16 kB. */
  settings: pg.jsonb,
  /** How many members it may have. */
  memberLimit: pg.int4,
  /** How many members it has. */
  memberCount: pg.int4,
  /** When it was closed: nobody may do anything there; null while it is open. */
  closedAt: orNull(pg.timestamptz),
  /** When it was made. */
  createdAt: pg.timestamptz,
  /** When its name, description, settings or limit changed. */
  updatedAt: pg.timestamptz,
});
export type Organization = ValueOf<typeof Organization>;

/** Someone in an organization, with the one role that they have there. When the role ends they are out. */
export const Membership = row('organizations.memberships', {
  /** Where. */
  organizationId: pg.uuid,
  /** Who. */
  userId: pg.uuid,
  /** What they may do there. */
  roleId: pg.uuid,
  /** Who gave them the role; null for the system. */
  givenBy: orNull(pg.uuid),
  /** When they were given it. */
  givenAt: pg.timestamptz,
  /** When it ends by itself; null for never. */
  endsAt: orNull(pg.timestamptz),
  /** The department they work in; null for none. */
  departmentId: orNull(pg.uuid),
  /** The position they hold; null for none. */
  positionId: orNull(pg.uuid),
  /** When they came. */
  joinedAt: pg.timestamptz,
});
export type Membership = ValueOf<typeof Membership>;

/** A part of an organization; departments form a tree. */
export const Department = row('organizations.departments', {
  /** The key. */
  id: pg.uuid,
  /** Whose part it is. */
  organizationId: pg.uuid,
  /** The department that it is part of; null at the top. */
  parentId: orNull(pg.uuid),
  /** Its name, unique beside those of one parent. */
  name: pg.text,
  /** What it does. */
  description: orNull(pg.text),
  /** Who leads it; null for nobody. */
  managerId: orNull(pg.uuid),
  /** The departments from the top down to this one, by id. */
  lineage: arrayOf(pg.uuid),
  /** When it was made. */
  createdAt: pg.timestamptz,
  /** When it last changed. */
  updatedAt: pg.timestamptz,
});
export type Department = ValueOf<typeof Department>;

/** That someone may join an organization; gone once it is answered. */
export const OrganizationInvitation = row('organizations.invitations', {
  /** The key. */
  id: pg.uuid,
  /** Where to. */
  organizationId: pg.uuid,
  /** Who is invited. */
  userId: pg.uuid,
  /** The role that they will have. */
  roleId: pg.uuid,
  /** When that role will end; null for never. */
  roleEndsAt: orNull(pg.timestamptz),
  /** Who invited them. */
  invitedBy: orNull(pg.uuid),
  /** Until when it can be accepted. */
  expiresAt: pg.timestamptz,
  /** When it was made. */
  createdAt: pg.timestamptz,
});
export type OrganizationInvitation = ValueOf<typeof OrganizationInvitation>;

/** What who is invited learns of an organization before they come in. */
export const OrganizationCard = row('organizations.organization_card', {
  /** The organization. */
  organizationId: orNull(pg.uuid),
  /** Its name. */
  name: orNull(pg.text),
  /** What it is. */
  description: orNull(pg.text),
});
export type OrganizationCard = ValueOf<typeof OrganizationCard>;

/** A post that members of an organization hold. */
export const Position = row('organizations.positions', {
  /** The key. */
  id: pg.uuid,
  /** Where it is. */
  organizationId: pg.uuid,
  /** Its title, unique in the organization in any case. */
  title: pg.text,
  /** What it is about. */
  description: orNull(pg.text),
  /** How high it stands, 1 to 100. */
  level: pg.int4,
  /** When it was made. */
  createdAt: pg.timestamptz,
  /** When it last changed. */
  updatedAt: pg.timestamptz,
});
export type Position = ValueOf<typeof Position>;

/** What those who have it may do in an organization. */
export const Role = row('organizations.roles', {
  /** The key. */
  id: pg.uuid,
  /** Whose role it is; null for the system roles owner, admin and member, which every organization has. */
  organizationId: orNull(pg.uuid),
  /** Its name, unique in the organization in any case. */
  name: pg.text,
  /** Who it is for. */
  description: orNull(pg.text),
  /** Actions by kind of resource, `{"documents": ["read", "write"]}`; `*` stands for every resource, or every action. */
  permissions: pg.jsonb,
  /** When it was made. */
  createdAt: pg.timestamptz,
  /** When it last changed. */
  updatedAt: pg.timestamptz,
});
export type Role = ValueOf<typeof Role>;

/** Someone who acts for another in an organization, in a window of time: as far as it names, and the other may. */
export const Proxy = row('organizations.proxies', {
  /** The key. */
  id: pg.uuid,
  /** Where. */
  organizationId: pg.uuid,
  /** For whom. */
  principalId: pg.uuid,
  /** Who acts. */
  agentId: pg.uuid,
  /** What they may do so, in the form of `Role.permissions`. */
  permissions: pg.jsonb,
  /** Who set it up. */
  givenBy: orNull(pg.uuid),
  /** From when. */
  startsAt: pg.timestamptz,
  /** Until when; null for until it is revoked. */
  endsAt: orNull(pg.timestamptz),
  /** When it was revoked; null if it was not. */
  revokedAt: orNull(pg.timestamptz),
  /** When it was set up. */
  createdAt: pg.timestamptz,
});
export type Proxy = ValueOf<typeof Proxy>;

/** What allows something: a role that every organization has, one of its own, or a proxy of someone else. */
export const Authority = oneOf('organizations.authority', ['system_role', 'role', 'proxy']);
export type Authority = ValueOf<typeof Authority>;

/** Whether someone may do something now, and what allows it. */
export const Permission = row('organizations.permission', {
  /** Whether they may. */
  isAllowed: orNull(pg.bool),
  /** What allows it; null where nothing does. */
  through: orNull(Authority),
  /** The role that allows it: their own, or through a proxy that of the principal; null where nothing does. */
  role: orNull(Role),
  /** The proxy that allows it; null where none is needed. */
  proxy: orNull(Proxy),
});
export type Permission = ValueOf<typeof Permission>;

/** Makes the caller a member of the organization that invites them. */
export const acceptOrganizationInvitation = mutation('organizations.accept_organization_invitation', {
  invitationId: pg.uuid,
}, Membership);

/**
 * Moves a member into a department, or out of any. It takes a role of one's own with {"members": ["write"]} that
 * allows as much as theirs, and {"rooms": ["write"]} where it brings them into a room. Nobody moves themselves but the
 * owner.
 */
export const assignDepartment = mutation('organizations.assign_department', {
  organizationId: pg.uuid,
  userId: pg.uuid,
  departmentId: optional(pg.uuid),
}, Membership);

/**
 * Gives a department a manager, or none. It takes a role of one's own with {"departments": ["write"]}, and
 * {"rooms": ["write"]} where it brings someone into a room. Nobody names themselves but the owner.
 */
export const assignManager = mutation('organizations.assign_manager', {
  departmentId: pg.uuid,
  userId: optional(pg.uuid),
}, Department);

/** Gives a member a position, or none. It takes {"members": ["write"]}. */
export const assignPosition = mutation('organizations.assign_position', {
  organizationId: pg.uuid,
  userId: pg.uuid,
  positionId: optional(pg.uuid),
}, Membership);

/**
 * Gives a member another role, in place of the one that they have; with `endsAt` they are out from then on. It takes
 * {"members": ["write"]}, and a role of one's own that allows as much as either and ends no sooner.
 */
export const assignRole = mutation('organizations.assign_role', {
  organizationId: pg.uuid,
  userId: pg.uuid,
  roleId: pg.uuid,
  endsAt: optional(pg.timestamptz),
}, Membership);

/** What the invited person learns of the organization. */
export const card = query('organizations.card', {
  invitation: keyOf(OrganizationInvitation, 'id'),
}, orNull(OrganizationCard));

/** Closes an organization: from then on nobody may do anything there, and its rooms take no messages. For its owner. */
export const closeOrganization = mutation('organizations.close_organization', {
  organizationId: pg.uuid,
}, Organization);

/**
 * Makes a department, at the top or within another. It takes {"departments": ["write"]}. Nobody names themselves
 * manager but the owner.
 */
export const createDepartment = mutation('organizations.create_department', {
  organizationId: pg.uuid,
  name: pg.text,
  description: optional(pg.text),
  parentId: optional(pg.uuid),
  managerId: optional(pg.uuid),
}, Department);

/** Makes an organization, with the caller as its owner. */
export const createOrganization = mutation('organizations.create_organization', {
  name: pg.text,
  description: optional(pg.text),
  memberLimit: optional(pg.int4),
}, Organization);

/** Makes a position. It takes {"positions": ["write"]}. */
export const createPosition = mutation('organizations.create_position', {
  organizationId: pg.uuid,
  title: pg.text,
  description: optional(pg.text),
  level: optional(pg.int4),
}, Position);

/** Makes a role of the organization's own. It takes {"roles": ["write"]}, and a role of one's own that allows as much. */
export const createRole = mutation('organizations.create_role', {
  organizationId: pg.uuid,
  name: pg.text,
  permissions: pg.jsonb,
  description: optional(pg.text),
}, Role);

/** Declines an invitation of the caller's. */
export const declineOrganizationInvitation = mutation('organizations.decline_organization_invitation', {
  invitationId: pg.uuid,
});

/**
 * Removes a department that has none within it, and no rooms; who worked there is in none. It takes
 * {"departments": ["delete"]}.
 */
export const deleteDepartment = mutation('organizations.delete_department', { departmentId: pg.uuid });

/** Removes a position; who held it holds none. It takes {"positions": ["delete"]}. */
export const deletePosition = mutation('organizations.delete_position', { positionId: pg.uuid });

/** Removes a role that nobody has, and the invitations with it. It takes {"roles": ["delete"]}. */
export const deleteRole = mutation('organizations.delete_role', { roleId: pg.uuid });

/**
 * Lets another member act for the caller, from `startsAt` (now) until `endsAt` (until it is revoked), as far as
 * `permissions` say and the caller's role allows then. With {"proxies": ["write"]} also for a `principalId`, where one's
 * own role allows all that theirs does, and the proxy.
 */
export const grantProxy = mutation('organizations.grant_proxy', {
  organizationId: pg.uuid,
  agentId: pg.uuid,
  permissions: pg.jsonb,
  startsAt: optional(pg.timestamptz),
  endsAt: optional(pg.timestamptz),
  principalId: optional(pg.uuid),
}, Proxy);

/**
 * Invites someone, with a role (member, unless another is named) that may have an end; for 14 days. It takes
 * {"members": ["write"]}, and a role of one's own that allows as much and ends no sooner.
 */
export const inviteToOrganization = mutation('organizations.invite_to_organization', {
  organizationId: pg.uuid,
  userId: pg.uuid,
  roleId: optional(pg.uuid),
  roleEndsAt: optional(pg.timestamptz),
}, OrganizationInvitation);

/** Takes the caller out of an organization, with their proxies; departments that they lead go to the manager above. */
export const leaveOrganization = mutation('organizations.leave_organization', { organizationId: pg.uuid });

/**
 * Moves a department, with all below it, into another or to the top. It takes a role of one's own with
 * {"departments": ["write"]}, and {"rooms": ["write"]} where it brings anyone into a room.
 */
export const moveDepartment = mutation('organizations.move_department', {
  departmentId: pg.uuid,
  parentId: optional(pg.uuid),
}, Department);

/** The caller's place in it; null for none. */
export const myMembership = query('organizations.my_membership', {
  organization: keyOf(Organization, 'id'),
}, orNull(Membership));

/**
 * Whether someone (the caller, unless another is named) may do an action on a kind of resource there now, and through
 * what. About others it is told to those who may write roles.
 */
export const permission = query('organizations.permission', {
  organizationId: pg.uuid,
  action: pg.text,
  resource: pg.text,
  userId: optional(pg.uuid),
}, Permission);

/**
 * Takes someone out, as if they left. It takes {"members": ["delete"]}, and a role of one's own that allows as much as
 * theirs.
 */
export const removeFromOrganization = mutation('organizations.remove_from_organization', {
  organizationId: pg.uuid,
  userId: pg.uuid,
});

/** Opens a closed organization again. For its owner. */
export const reopenOrganization = mutation('organizations.reopen_organization', {
  organizationId: pg.uuid,
}, Organization);

/** Ends a proxy at once: for its principal, its agent, and those with {"proxies": ["delete"]}. */
export const revokeProxy = mutation('organizations.revoke_proxy', { proxyId: pg.uuid }, Proxy);

/**
 * Hands the departments that someone leads, or one of them, to another member. For the manager; about others it takes
 * the same as to assign a manager.
 */
export const transferDuties = mutation('organizations.transfer_duties', {
  organizationId: pg.uuid,
  fromUserId: pg.uuid,
  toUserId: pg.uuid,
  departmentId: optional(pg.uuid),
}, setOf(Department));

/** Hands an organization over to another member; who owned it becomes an admin. */
export const transferOrganization = mutation('organizations.transfer_organization', {
  organizationId: pg.uuid,
  userId: pg.uuid,
}, Organization);

/** Changes the name or description of a department; what is left out stays. It takes {"departments": ["write"]}. */
export const updateDepartment = mutation('organizations.update_department', {
  departmentId: pg.uuid,
  name: optional(pg.text),
  description: optional(pg.text),
}, Department);

/** Changes an organization; it takes {"organization": ["write"]}. What is left out stays; an empty description goes. */
export const updateOrganization = mutation('organizations.update_organization', {
  organizationId: pg.uuid,
  name: optional(pg.text),
  description: optional(pg.text),
  settings: optional(pg.jsonb),
  memberLimit: optional(pg.int4),
}, Organization);

/** Changes a position; what is left out stays. It takes {"positions": ["write"]}. */
export const updatePosition = mutation('organizations.update_position', {
  positionId: pg.uuid,
  title: optional(pg.text),
  description: optional(pg.text),
  level: optional(pg.int4),
}, Position);

/**
 * Changes a role of the organization's own, for all who have it, at once. What is left out stays. It takes
 * {"roles": ["write"]}, and a role of one's own that allows as much as this one before and after.
 */
export const updateRole = mutation('organizations.update_role', {
  roleId: pg.uuid,
  name: optional(pg.text),
  permissions: optional(pg.jsonb),
  description: optional(pg.text),
}, Role);

/** Takes an invitation back; it takes {"members": ["write"]}. */
export const withdrawOrganizationInvitation = mutation('organizations.withdraw_organization_invitation', {
  invitationId: pg.uuid,
});
