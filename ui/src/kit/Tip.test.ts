import { expect, test } from "vitest";
import { placeTip } from "./Tip";

const WINDOW = { width: 1280, height: 800 };
const TIP = { width: 320, height: 220 };
const at = (left: number, top: number) => ({ left, right: left + 20, top, bottom: top + 20 });

test("a tip stands beneath, above where there is no room, and never over the window's edge", () => {
  expect(placeTip(at(600, 100), TIP, WINDOW)).toEqual({ left: 450, top: 126 });
  expect(placeTip(at(600, 700), TIP, WINDOW)).toEqual({ left: 450, top: 474 });
  expect(placeTip(at(0, 100), TIP, WINDOW).left).toBe(8);
  expect(placeTip(at(1260, 100), TIP, WINDOW).left).toBe(1280 - 8 - 320);
});

test("a tip that fits neither beneath nor above stands beside, on the side with room", () => {
  const tall = { width: 320, height: 600 };
  expect(placeTip(at(100, 390), tall, WINDOW)).toEqual({ left: 126, top: 100 });
  expect(placeTip(at(1200, 390), tall, WINDOW)).toEqual({ left: 1200 - 6 - 320, top: 100 });
  expect(placeTip(at(600, 700), tall, WINDOW).top).toBe(94);
});
