import { type LookupAddress, lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

// What is not of the public internet (IANA's special-purpose registries): loopback, private, link-local (cloud metadata), shared,
// documentation, benchmarks, multicast, reserved.
const closed = new BlockList();
for (const subnet of [
  '0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24',
  '192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4',
].flatMap((line) => line.split(' '))) {
  const [network = '', bits] = subnet.split('/');
  closed.addSubnet(network, Number(bits), 'ipv4');
}
// Of IPv6 only what is given out to the public, without what stands for an IPv4 address (Teredo, 6to4) or is documentation.
const open6 = new BlockList();
open6.addSubnet('2000::', 3, 'ipv6');
const closed6 = new BlockList();
for (const [network, bits] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const)
  closed6.addSubnet(network, bits, 'ipv6');

/** An address is not for whoever named it: nothing was sent there. */
export class NotPublic extends Error {}

/** Whether an IP address is one of the public internet. */
export function isPublic(address: string): boolean {
  const plain = address.replace(/^\[|\]$/g, '');
  if (isIP(plain) === 4) return !closed.check(plain, 'ipv4');
  return isIP(plain) === 6 && open6.check(plain, 'ipv6') && !closed6.check(plain, 'ipv6');
}

/** Looks a name up for a connection, and fails where any of its addresses is not public: what was checked is what is connected to. */
export const publicLookup: LookupFunction = (hostname, options, done) => {
  lookup(hostname, { ...options, all: true }, (error, found: LookupAddress[]) => {
    if (error) return done(error, []);
    const inside = found.find(({ address }) => !isPublic(address));
    const [first] = found;
    if (inside || !first) return done(new NotPublic(`${hostname} is not at a public address`), []);
    if (options.all) return done(null, found);
    return done(null, first.address, first.family);
  });
};
