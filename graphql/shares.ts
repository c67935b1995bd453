/** Takes so many bytes, or gives them back where they are negative; false where there are none left for this sender. */
export type Hold = (sender: string, bytes: number) => boolean;

/** Memory that all senders have together. One may hold as much as it leaves free. */
export function openShares(mostTogether: number): Hold {
  const held = new Map<string, number>();
  let together = 0;
  return (sender, bytes) => {
    const now = (held.get(sender) ?? 0) + bytes;
    if (bytes > 0 && now > mostTogether - together) return false;
    if (now === 0) held.delete(sender);
    else held.set(sender, now);
    together += bytes;
    return true;
  };
}

/** Gives a place among those of one sender, and with it what gives it back; nothing where they are all taken. */
export type TakePlace = (sender: string) => (() => void) | undefined;

export function openPlaces(mostOfOne: number): TakePlace {
  const taken = new Map<string, number>();
  return (sender) => {
    const own = taken.get(sender) ?? 0;
    if (own >= mostOfOne) return undefined;
    taken.set(sender, own + 1);
    return () => {
      const left = (taken.get(sender) as number) - 1;
      if (left === 0) taken.delete(sender);
      else taken.set(sender, left);
    };
  };
}
