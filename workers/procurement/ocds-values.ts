import type { StagedRecord } from '../../functions/contract-imports.ts';

// What stands in releases of the Open Contracting Data Standard, read with care: a publisher may leave out or misspell anything.

export type Thing = Record<string, unknown>;

export const partyOf = (release: Thing, named: Thing | undefined): Thing | undefined =>
  list(release.parties).find(({ id }) => text(id) !== undefined && text(id) === text(named?.id)) ?? named;

/** The key of an organization: its identifier with its scheme, or the id that the publisher gives it. */
export function binOf(release: Thing, named: Thing | undefined): string | undefined {
  const party = partyOf(release, named);
  const identifier = thing(party?.identifier);
  const id = text(identifier?.id);
  const scheme = text(identifier?.scheme);
  const full = id ? (scheme && !id.startsWith(scheme) ? `${scheme}-${id}` : id) : text(party?.id);
  return full?.replace(/[^0-9A-Za-z-]+/g, '-');
}

/** A region has a code of plain letters; what is written otherwise has none, and only operators see it. */
export function regionOf(party: Thing | undefined): { region?: string; region_name?: string } {
  const name = text(thing(party?.address)?.region);
  const code = name
    ?.normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .replace(/[^0-9A-Za-z]+/g, '-')
    .replace(/^-|-$/g, '')
    .slice(0, 20);
  return name && code ? { region: code, region_name: name.slice(0, 200) } : {};
}

export function recordOf(kind: StagedRecord['kind'], fields: Record<string, string | undefined>): StagedRecord {
  const told = Object.entries(fields).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return { kind, record: Object.fromEntries(told) };
}

export const isThing = (value: unknown): value is Thing =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
export const thing = (value: unknown): Thing | undefined => (isThing(value) ? value : undefined);
export const list = (value: unknown): Thing[] => (Array.isArray(value) ? value.filter(isThing) : []);
export function text(value: unknown): string | undefined {
  if (typeof value !== 'string' && typeof value !== 'number') return undefined;
  return `${value}`.replaceAll('\0', '').trim() || undefined;
}
export const day = (value: unknown): string | undefined => text(value)?.split('T')[0];
