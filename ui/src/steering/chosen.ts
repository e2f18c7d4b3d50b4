import { useCallback, useMemo } from "react";
import { useSearchParams } from "@/kit/url";

export type Mode = "add" | "clamp";

/** A feature that is to be changed, as the address holds it. */
export interface Chosen {
  sae: string;
  index: number;
  /** In units of the feature's own maximum (of 1 where that is not known). */
  strength: number;
  mode: Mode;
}

export const writeChosen = (features: Chosen[]): string =>
  features.map((one) => [one.sae, one.index, one.strength, one.mode].join("~")).join("!");

/** Reads what `writeChosen` wrote; what makes no sense is left out, and each feature comes once. */
export function readChosen(text: string): Chosen[] {
  const found = new Map<string, Chosen>();
  for (const part of text.split("!")) {
    const [sae = "", index = "", strength = "", mode = ""] = part.split("~");
    const one = { sae, index: Number(index), strength: Number(strength), mode: mode as Mode };
    const whole = sae !== "" && /^\d+$/.test(index) && strength !== "" && Number.isFinite(one.strength);
    if (whole && (mode === "add" || mode === "clamp")) found.set(`${sae}~${index}`, one);
  }
  return [...found.values()];
}

/** The features chosen, in the address. */
export function useChosen(): [Chosen[], (features: Chosen[]) => void] {
  const [search, change] = useSearchParams();
  const text = String(search.f ?? "");
  const chosen = useMemo(() => readChosen(text), [text]);
  const set = useCallback(
    (features: Chosen[]) => change({ f: features.length > 0 ? writeChosen(features) : undefined }),
    [change],
  );
  return [chosen, set];
}
