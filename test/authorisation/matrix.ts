import { access } from './access.ts';
import { accounts } from './accounts.ts';
import { chat } from './chat.ts';
import { commerce } from './commerce.ts';
import { events } from './events.ts';
import { files } from './files.ts';
import { identity } from './identity.ts';
import { jobs } from './jobs.ts';
import { notifications } from './notifications.ts';
import { operations } from './operations.ts';
import { organizations } from './organizations.ts';
import { platforms } from './platforms.ts';
import { presence } from './presence.ts';
import { procurement } from './procurement.ts';
import { publicSchema } from './public.ts';
import type { Section } from './section.ts';
import { stats } from './stats.ts';
import { webhooks } from './webhooks.ts';

/** What a role has beside its own grants. plinth_server becomes an API role and inherits nothing; PUBLIC is granted nothing. */
export const roles: Record<string, string[]> = {
  public: [],
  anonymous: [],
  member: ['anonymous'],
  operator: ['member', 'anonymous'],
  service: [],
  plinth_server: [],
};

/** Every schema of the application, by its name. */
export const sections: Record<string, Section> = {
  public: publicSchema,
  identity,
  access,
  events,
  chat,
  organizations,
  files,
  notifications,
  presence,
  jobs,
  accounts,
  webhooks,
  platforms,
  commerce,
  procurement,
  stats,
  operations,
};
