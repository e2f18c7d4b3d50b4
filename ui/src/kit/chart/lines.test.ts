import { describe, expect, it } from "vitest";
import { linesCsv } from "./csv";
import { figureSvg } from "./figure";
import { drawingOf, extentOf, type Line, markAt } from "./lines";
import { PointLog } from "./pointLog";
import { readingsAt } from "./readout";

function line(id: string, values: (number | null)[], group?: Line["group"], every = 1): Line {
  const points = new PointLog();
  const step = values.map((_, index) => every * (index + 1));
  points.replace({
    step,
    tokens: step.map((one) => 10 * one),
    time: step.map((one) => 1000 + one),
    fvu: values,
  });
  return { id, label: id, points, column: "fvu", colour: 0, run: id, group };
}

const options = { axis: "step", logX: false, logY: false, smoothing: 0, zoom: null, width: 40 } as const;

describe("what is drawn", () => {
  it("is one line for each run over the span of all, whatever steps they have", () => {
    const lines = [line("a", [1, 2, 3]), line("b", [5, 4, 3, 2], undefined, 10)];
    expect(extentOf(lines, "step", false)).toEqual([1, 40]);
    const drawing = drawingOf(lines, options);
    expect(drawing?.span).toEqual([1, 40]);
    expect(drawing?.traces.map((trace) => trace.kind)).toEqual(["line", "line"]);
    expect(drawing?.traces[1]?.y.filter((value) => value !== null)).toEqual([5, 4, 3, 2]);
    expect(drawingOf(lines, { ...options, smoothing: 0.5 })?.traces.map((trace) => trace.kind)).toEqual([
      "raw",
      "line",
      "raw",
      "line",
    ]);
    expect(drawingOf([], options)).toBeNull();
  });

  it("is mean and deviation of a group, in the drawing and at the crosshair", () => {
    const group = { name: "k 8", colour: 3 };
    const lines = [line("a", [1, 1], group), line("b", [3, 5], group)];
    const [high, low, mean] = drawingOf(lines, options)?.traces ?? [];
    expect([high?.y[0], low?.y[0], mean?.y[0]]).toEqual([3, 1, 2]);
    expect(readingsAt(lines, "step", null, 0, 1)).toMatchObject([
      { label: "k 8", value: 3, spread: 2, runs: 2, colour: 3, at: 2 },
    ]);
  });

  it("reads the nearest measured point of each run", () => {
    const lines = [line("a", [1, null, null, 4])];
    expect(readingsAt(lines, "tokens", 21, 0, 1)).toMatchObject([{ at: 10, value: 1 }]);
    expect(readingsAt(lines, "tokens", 29, 0, 1)).toMatchObject([{ at: 40, value: 4 }]);
  });

  it("puts marks where the axis has their step", () => {
    const { points } = line("a", [1, 2, 3, 4]);
    const mark = { points, step: 3, time: 1003, text: "", run: "a", colour: 0 };
    expect(markAt(mark, "step")).toBe(3);
    expect(markAt(mark, "tokens")).toBe(30);
    expect(markAt({ ...mark, step: 99 }, "tokens")).toBe(40);
  });
});

describe("what is saved", () => {
  it("is a table of every point with every digit", () => {
    const lines = [line('a, "b"', [0.1, null, 1 / 3])];
    expect(linesCsv(lines, (one) => one.label)).toBe(
      'run,step,tokens,time,fvu\r\n"a, ""b""",1,10,1001,0.1\r\n"a, ""b""",3,30,1003,0.3333333333333333\r\n',
    );
  });

  it("is a figure with the curves, their names and the marks", () => {
    const lines = [line("a<b", [1, 2]), line("c", [2, 1])];
    const drawing = drawingOf(lines, options);
    if (!drawing) throw new Error("nothing drawn");
    const svg = figureSvg({
      title: "FVU",
      xLabel: "steps",
      drawing,
      rangeY: [0, 4],
      ticks: { x: [{ at: 1, text: "1" }], y: [{ at: 2, text: "2" }] },
      logX: false,
      logY: false,
      colourOf: () => "rgb(1, 2, 3)",
      marks: [{ at: 1.5, text: "learning rate 1 → 2" }],
    });
    expect(svg.match(/<polyline/g)).toHaveLength(2);
    expect(svg).toContain("a&lt;b");
    expect(svg).toContain("<title>learning rate 1 → 2</title>");
    // The first curve rises from a quarter of the height to a half: 300 pixels over a range of 4.
    expect(svg).toMatch(/<polyline points="\S+,259 .*,184" stroke="rgb\(1, 2, 3\)"/);
  });
});
