import { describe, expect, it, vi } from "vitest";
import { startWaking } from "./waking";

describe("waking", () => {
  it("is noticed by a clock that jumped, a network that is back, a page that is seen again", () => {
    vi.useFakeTimers();
    let [time, woken] = [0, 0];
    const window = new EventTarget();
    const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
    const end = startWaking(() => woken++, { window, document, now: () => time });
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
    document.visibilityState = "hidden";
    document.dispatchEvent(new Event("visibilitychange"));
    expect(woken).toBe(2);
    document.visibilityState = "visible";
    document.dispatchEvent(new Event("visibilitychange"));
    expect(woken).toBe(3);
    end();
    window.dispatchEvent(new Event("online"));
    expect(woken).toBe(3);
    vi.useRealTimers();
  });
});
