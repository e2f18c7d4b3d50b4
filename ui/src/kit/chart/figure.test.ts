import { expect, test } from "vitest";
import { shortened } from "./figure";

test("a long name in a legend keeps what tells it from its neighbours", () => {
  expect(shortened("short · k=4", 20)).toBe("short · k=4");
  expect(shortened("a sweep over everything · k=16", 20)).toBe("a sweep over… · k=16");
  expect(shortened("a sweep over everything · k=16", 20)).toHaveLength(20);
  expect(shortened("x".repeat(30), 20)).toBe(`${"x".repeat(19)}…`);
});
