/** `channel_id` → `channelId`. */
export function camelCase(name: string): string {
  return name.replace(/_+([a-z0-9])/gi, (_, letter: string) => letter.toUpperCase());
}

/** `channel_id` → `ChannelId`. */
export function pascalCase(name: string): string {
  const camel = camelCase(name);
  return camel.charAt(0).toUpperCase() + camel.slice(1);
}

/** `accounts` → `account`, `companies` → `company`, `statuses` → `status`. What it gets wrong, `@name` sets right. */
export function singular(name: string): string {
  if (/ies$/.test(name)) return name.replace(/ies$/, 'y');
  if (/(s|x|z|ch|sh)es$/.test(name)) return name.replace(/es$/, '');
  if (/[^s]s$/.test(name)) return name.replace(/s$/, '');
  return name;
}

/** `message` → `messages`, `reply` → `replies`. */
export function plural(name: string): string {
  if (/[^aeiou]y$/.test(name)) return name.replace(/y$/, 'ies');
  if (/(s|x|z|ch|sh)$/.test(name)) return `${name}es`;
  return `${name}s`;
}

/** `ACTIVE_AT_DESC` and the labels of enums: `in progress` → `IN_PROGRESS`. */
export function upperCase(name: string): string {
  return name.toUpperCase().replace(/[^A-Z0-9]/g, '_');
}

/** A quoted name for people: in quotes only where SQL needs them. */
export function spoken(sqlName: string): string {
  return sqlName.replaceAll(/"([a-z_][a-z0-9_]*)"/g, '$1');
}
