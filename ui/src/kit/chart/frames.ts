/**
 * Drawing in turns. What a reader asks for is drawn at once; what arriving points ask for is spread over frames, one
 * chart at a time, as far apart as it takes to leave most of the time free, however slowly this machine draws.
 */

const FRAME = 1000 / 60;
/** The share of time that drawing new points may take. */
const SHARE = 0.15;
/** But every chart is drawn so often, in milliseconds, when its points are live. */
const LATEST = 900;

type Draw = () => void;

const asked = new Set<Draw>();
const live = new Set<Draw>();
let waiting = false;
let before = 0;
let drewLive = false;
/** What one live draw takes of a frame, as seen from when the next frame comes: much of it is done after our part. */
let cost = 4;
let next = 0;

/** Draw in the next frame. Asking again before it was drawn changes nothing. */
export function drawSoon(draw: Draw): void {
  live.delete(draw);
  asked.add(draw);
  wait();
}

/** Draw when it is this one's turn, within a second. */
export function drawLive(draw: Draw): void {
  if (asked.has(draw)) return;
  live.add(draw);
  wait();
}

export function drawNever(draw: Draw): void {
  asked.delete(draw);
  live.delete(draw);
}

function wait(): void {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(turn);
}

function turn(now: number): void {
  waiting = false;
  const passed = now - before;
  before = now;
  // A pause without frames (nothing to draw, a hidden page) says nothing of the cost.
  if (drewLive && passed < 500) cost = 0.8 * cost + 0.2 * Math.max(1, passed - FRAME);
  drewLive = false;
  for (const draw of asked) {
    asked.delete(draw);
    draw();
  }
  const [first] = live;
  if (first && now >= next) {
    live.delete(first);
    first();
    drewLive = true;
    next = now + Math.min(cost / SHARE, LATEST / (live.size + 1));
  }
  // Also the frame after a draw, to see when it comes.
  if (live.size > 0 || drewLive) wait();
}
