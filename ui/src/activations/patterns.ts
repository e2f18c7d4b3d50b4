/** Hook points named by patterns of layers, as templates keep them, so that another model understands them too. */

const IN_BLOCK = /^blocks\.(\d+)\.(.+)$/;

/**
 * The shortest patterns for these hook points of a model with `layers` layers: every layer of a kind is
 * `blocks.*.hook_resid_post`, evenly spaced ones from the first on `blocks.*\/3.…`, neighbours `blocks.0-5.…`; the rest
 * stays as it is.
 */
export function patternsOf(hooks: string[], layers: number): string[] {
  const places = new Map<string, number[]>();
  const patterns: string[] = [];
  for (const hook of hooks) {
    const match = IN_BLOCK.exec(hook);
    if (!match) {
      if (!patterns.includes(hook)) patterns.push(hook);
      continue;
    }
    const place = match[2] as string;
    places.set(place, [...(places.get(place) ?? []), Number(match[1])]);
  }
  for (const [place, found] of places) {
    const sorted = [...new Set(found)].sort((one, other) => one - other);
    const first = sorted[0] as number;
    const last = sorted.at(-1) as number;
    const step = sorted.length > 1 ? (sorted[1] as number) - first : 1;
    const even = sorted.every((layer, index) => layer === first + index * step);
    if (sorted.length > 1 && even && first === 0 && last + step >= layers)
      patterns.push(`blocks.*${step === 1 ? "" : `/${step}`}.${place}`);
    else if (sorted.length > 2 && even)
      patterns.push(`blocks.${first}-${last}${step === 1 ? "" : `/${step}`}.${place}`);
    else patterns.push(...sorted.map((layer) => `blocks.${layer}.${place}`));
  }
  return patterns;
}
