import { z } from 'zod';
import type { SigningKey } from './signing-keys.ts';

// The kinds of values that settings have: each reads the text of an environment variable.

/** A whole number within a range. */
export function integer(minimum: number, maximum = Number.MAX_SAFE_INTEGER) {
  const range = maximum === Number.MAX_SAFE_INTEGER ? `from ${minimum}` : `from ${minimum} to ${maximum}`;
  return z.string().transform((text, context) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= minimum && value <= maximum) return value;
    context.addIssue(`must be a whole number ${range}, not "${text}"`);
    return z.NEVER;
  });
}

/** One of a few words. */
export function choice<const Values extends readonly [string, ...string[]]>(values: Values) {
  return z.enum(values, { error: ({ input }) => `must be one of ${values.join(', ')}, not "${input}"` });
}

/** true or false, and what people write for them: yes, no, on, off, 1, 0. */
export function yesOrNo() {
  return z.stringbool({ error: ({ input }) => `must be true or false, not "${input}"` });
}

/** The address of a database. Its error says nothing of the value: that holds a password. */
export function postgresUrl() {
  return z.string().refine((text) => /^postgres(ql)?:$/.test(URL.parse(text)?.protocol ?? ''), {
    error: 'must be a URL such as postgres://user:password@host:5432/database',
  });
}

/** The address of a Redis. Its error says nothing of the value: that may hold a password. */
export function redisUrl() {
  return z.string().refine((text) => /^rediss?:$/.test(URL.parse(text)?.protocol ?? ''), {
    error: 'must be a URL such as redis://user:password@host:6379/0',
  });
}

/** The address of something that speaks HTTP. Its error says nothing of the value: that may hold a password. */
export function httpUrl() {
  return z.string().refine((text) => /^https?:$/.test(URL.parse(text)?.protocol ?? ''), {
    error: 'must be a URL such as http://localhost:4318',
  });
}

/** Web origins separated by commas. */
export function origins() {
  return z.string().transform((text, context) => {
    const list = text.split(',').map((origin) => origin.trim());
    for (const origin of list) {
      if (origin === '*' || URL.parse(origin)?.origin === origin) continue;
      context.addIssue(`must be origins such as https://app.example, separated by commas, not "${origin}"`);
    }
    return list;
  });
}

/** Keys as kid:base64url, separated by commas. Its errors say which of them is wrong, and nothing of the keys. */
export function signingKeys() {
  return z.string().transform((text, context) => {
    const keys = text.split(',').map((part, index): SigningKey => {
      const [, kid = '', encoded = ''] = /^\s*([\w.-]+):([\w-]+)\s*$/.exec(part) ?? [];
      const key = new Uint8Array(Buffer.from(encoded, 'base64url'));
      const which = kid ? `key ${kid}` : `key ${index + 1}`;
      if (!kid) context.addIssue(`${which} must be written kid:base64url`);
      else if (key.length < 32) context.addIssue(`${which} must hold at least 32 bytes, and holds ${key.length}`);
      return { kid, key };
    });
    if (new Set(keys.map(({ kid }) => kid)).size < keys.length) context.addIssue('must not name a kid twice');
    return keys;
  });
}

/** The address of a service. */
export function webAddress() {
  return z.string().refine((text) => /^https?:$/.test(URL.parse(text)?.protocol ?? ''), {
    error: ({ input }) => `must be a URL such as https://s3.example, not "${input}"`,
  });
}

/** The addresses of a service that has several hosts: * stands for the name of each. */
export function starredAddress() {
  return z.string().refine((text) => /^https?:$/.test(URL.parse(text)?.protocol ?? '') && text.includes('*'), {
    error: ({ input }) => `must be a URL such as https://*.example or http://localhost:8080/*, not "${input}"`,
  });
}

/** Keys of 32 bytes as base64url, separated by commas. Its errors say nothing of them. */
export function backupKeys() {
  return z.string().transform((text, context) => {
    const keys = text.split(',').map((part) => new Uint8Array(Buffer.from(part.trim(), 'base64url')));
    keys.forEach(({ length }, index) => {
      if (length !== 32) context.addIssue(`key ${index + 1} must hold 32 bytes as base64url, and holds ${length}`);
    });
    return keys;
  });
}
