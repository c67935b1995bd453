import type { IncomingMessage } from 'node:http';

/** The address of the client: the connection's, or what the outermost of our own proxies saw. */
export function addressOf({ headers, socket }: IncomingMessage, proxies: number): string {
  const forwarded = String(headers['x-forwarded-for'] ?? '').split(',');
  const seen = proxies > 0 ? forwarded.at(-proxies)?.trim() : undefined;
  return (seen || socket.remoteAddress)?.replace(/^::ffff:/, '') ?? '';
}

/** What an address is counted under, as identity._counted_address does: one who has an IPv6 address has all of its /64. */
export function countedAddress(address: string): string {
  const url = address.includes(':') && URL.parse(`http://[${address.split('%', 1)[0]}]/`);
  if (!url) return address;
  const [before = '', after] = url.hostname.slice(1, -1).split('::');
  const groups = before.split(':').filter(Boolean);
  const rest = (after ?? '').split(':').filter(Boolean);
  const all = [...groups, ...Array(8 - groups.length - rest.length).fill('0'), ...rest];
  const isMapped = /^(0,){5}ffff$/.test(all.slice(0, 6).join());
  return isMapped ? all.join(':') : `${all.slice(0, 4).join(':')}::/64`;
}
