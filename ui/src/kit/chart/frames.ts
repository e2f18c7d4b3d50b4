/** Drawing in turns: what must be drawn is done within a frame's share of time, the rest in the frames that follow. */

const SHARE_MILLISECONDS = 6;

const waiting = new Set<() => void>();
let asked = false;

/** Draw soon; asking again before it was drawn changes nothing. */
export function drawSoon(draw: () => void): void {
  waiting.add(draw);
  if (asked) return;
  asked = true;
  requestAnimationFrame(turn);
}

export function drawNever(draw: () => void): void {
  waiting.delete(draw);
}

function turn(): void {
  asked = false;
  const began = performance.now();
  for (const draw of waiting) {
    waiting.delete(draw);
    draw();
    if (performance.now() - began > SHARE_MILLISECONDS) break;
  }
  if (waiting.size > 0 && !asked) {
    asked = true;
    requestAnimationFrame(turn);
  }
}
