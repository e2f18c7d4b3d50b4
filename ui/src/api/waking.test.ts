// @vitest-environment jsdom
import { describe, expect, it, vi } from "vitest";
import { startWaking } from "./waking";

describe("waking", () => {
  it("is noticed by a clock that jumped", () => {
    vi.useFakeTimers();
    let [time, woken] = [0, 0];
    const end = startWaking(
      () => woken++,
      () => time,
    );
    for (let second = 1; second <= 10; second++) {
      time += 1000;
      vi.advanceTimersByTime(1000);
    }
    expect(woken).toBe(0);
    time += 3_600_000;
    vi.advanceTimersByTime(1000);
    expect(woken).toBe(1);
    window.dispatchEvent(new Event("online"));
    expect(woken).toBe(2);
    end();
    window.dispatchEvent(new Event("online"));
    expect(woken).toBe(2);
    vi.useRealTimers();
  });
});
