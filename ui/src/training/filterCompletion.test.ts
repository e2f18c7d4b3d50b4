import { describe, expect, it } from "vitest";
import { fieldsFor, finished, placeAt, quoted, withCondition } from "./filterCompletion";

const names = new Set(["fvu", "layer", "model", "held_out.fvu"]);
const at = (text: string) => placeAt(text, text.length, names);

describe("what may stand at the caret", () => {
  it("names, operators and values", () => {
    expect(at("")).toEqual({ kind: "field", from: 0, start: "" });
    expect(at("layer:6 mo")).toEqual({ kind: "field", from: 8, start: "mo" });
    expect(at("(-mo")).toEqual({ kind: "field", from: 2, start: "mo" });
    expect(at("-held_out.f")).toEqual({ kind: "field", from: 1, start: "held_out.f" });
    expect(at("x fvu")).toEqual({ kind: "operator", from: 5, field: "fvu" });
    expect(at("model:pyth")).toEqual({ kind: "value", from: 6, field: "model", start: "pyth" });
    expect(at("layer:6,7,")).toEqual({ kind: "value", from: 10, field: "layer", start: "" });
    expect(at('-model!="a b')).toEqual({ kind: "value", from: 8, field: "model", start: "a b" });
    expect(at('"some text')).toBeNull();
    expect(placeAt("fvu<0.2 layer:6", 3, names)).toEqual({ kind: "operator", from: 3, field: "fvu" });
  });

  it("offers what begins so before what contains it", () => {
    const field = (name: string, title: string) => ({ name, title, kind: "number", choices: [] });
    const found = fieldsFor("l", [
      field("fvu", "FVU"),
      field("model", "Model"),
      field("l0", "L0"),
      field("x", "Layer"),
    ]);
    expect(found.map((one) => one.name)).toEqual(["l0", "x", "model"]);
  });

  it("leaves out what has no value yet", () => {
    const done = (text: string) => finished(text, at(text));
    expect(done("layer:6 fv")).toBe("layer:6");
    expect(done("layer:6 OR fvu")).toBe("layer:6");
    expect(done("layer:6 -model:")).toBe("layer:6");
    expect(done("layer:6 model:py")).toBe("layer:6 model:py");
    expect(done("layer:6 ")).toBe("layer:6 ");
    expect(done("fvu")).toBe("");
  });

  it("writes values and conditions as the server reads them", () => {
    expect(quoted("blocks.6.hook_resid_post")).toBe("blocks.6.hook_resid_post");
    expect(quoted('a "b"')).toBe('"a \\"b\\""');
    expect(withCondition("a OR b", "tag:x")).toBe("(a OR b) tag:x");
    expect(withCondition("fvu<1 tag:x", "tag:x")).toBe("fvu<1 tag:x");
  });
});
