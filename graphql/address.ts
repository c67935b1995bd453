import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';

/**
 * The address of the client: the connection's, or what the outermost of our own proxies saw, which some write with its port. Where that is
 * no address (`unknown`), it is the proxy's: nobody is counted under none.
 */
export function addressOf({ headers, socket }: IncomingMessage, proxies: number): string {
  const forwarded = String(headers['x-forwarded-for'] ?? '').split(',');
  const seen = proxies > 0 ? withoutPort(forwarded.at(-proxies)?.trim() ?? '') : '';
  return plainAddress(isIP(seen) ? seen : socket.remoteAddress);
}

/** `192.0.2.1:443` and `[2001:db8::1]:443`, without the port. */
function withoutPort(seen: string): string {
  const [, bracketed, plain] = /^(?:\[([^\]]+)\](?::\d+)?|([\d.]+):\d+)$/.exec(seen) ?? [];
  return bracketed ?? plain ?? seen;
}

/** An IPv4 address that a socket for both kinds gives as an IPv6 one, as it was. */
export function plainAddress(address: string | undefined): string {
  return address?.replace(/^::ffff:(?=[\d.]+$)/i, '') ?? '';
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
