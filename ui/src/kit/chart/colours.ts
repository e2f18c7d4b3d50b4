/** Series colours: the same run has the same in every chart. Eight hues, then the same dashed, then dotted. */

const HUES = 8;

export const seriesColour = (place: number) => `var(--series-${(place % HUES) + 1})`;

/** Dashes of a line, in pixels; empty for a solid one. */
export function seriesDash(place: number): number[] {
  const turn = Math.floor(place / HUES) % 3;
  return turn === 0 ? [] : turn === 1 ? [6, 3] : [2, 3];
}

/** The computed colours of tokens such as `var(--line)`: canvas knows no custom properties. */
export function computedColours(host: HTMLElement, tokens: string[]): string[] {
  const probe = document.createElement("span");
  // Where motion is reduced every change is a very short transition, whose beginning is the colour before.
  probe.style.transition = "none";
  host.append(probe);
  const found = tokens.map((token) => {
    probe.style.color = token;
    return getComputedStyle(probe).color;
  });
  probe.remove();
  return found;
}
