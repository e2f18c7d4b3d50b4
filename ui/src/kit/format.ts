/** Numbers as a researcher reads them: 3 significant figures, thin-space groups, units; the exact value on demand. */

const THIN = "\u2009";
const MINUS = "\u2212";

function signed(text: string): string {
  return text.replace("-", MINUS);
}

function grouped(text: string): string {
  const [whole = "", fraction] = text.split(".");
  // Four digits read well without a group; from five on they do not.
  const spaced = whole.replace("-", "").length > 4 ? whole.replace(/\B(?=(\d{3})+(?!\d))/g, THIN) : whole;
  return fraction === undefined ? spaced : `${spaced}.${fraction}`;
}

/** A number of any size to `figures` significant figures; whole numbers below 100 000 stay exact. */
export function figure(value: number | null | undefined, figures = 3): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : `${MINUS}∞`;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 100_000) return signed(grouped(String(value)));
  if (size < 1e-3) {
    const [mantissa = "0", exponent = "0"] = value.toExponential(figures - 1).split("e");
    return signed(`${mantissa}e${exponent.replace("+", "")}`);
  }
  const rounded = Math.abs(Number(value.toPrecision(figures)));
  if (rounded >= 1e4) {
    const [scale, letter] =
      rounded >= 1e12 ? [1e12, "T"] : rounded >= 1e9 ? [1e9, "G"] : rounded >= 1e6 ? [1e6, "M"] : [1e3, "k"];
    return `${signed((value / (scale as number)).toPrecision(figures))}${THIN}${letter}`;
  }
  if (size >= Math.min(1000, 10 ** figures)) return signed(grouped(String(Math.round(value))));
  return signed(value.toPrecision(figures));
}

/** Every digit that there is, for tooltips. */
export function exact(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "not known";
  if (!Number.isFinite(value)) return figure(value);
  return signed(grouped(String(value)));
}

/** A number as somebody gave it, "0.002" and not "0.00200"; large whole ones as figures are. */
export function given(value: number): string {
  return Number.isInteger(value) ? figure(value) : exact(Number(value.toPrecision(4)));
}

/** A share (0..1) in per cent. */
export function percent(share: number | null | undefined): string {
  if (share === null || share === undefined || Number.isNaN(share)) return "–";
  const value = share * 100;
  if (value === 0) return "0%";
  if (Math.abs(value) >= 99.95) return `${Math.round(value)}%`;
  return `${signed(Math.abs(value) < 0.01 ? value.toExponential(1) : value.toPrecision(Math.abs(value) < 1 ? 2 : 3))}%`;
}

/** How much of a job is done: the first thousandths without an exponent. */
export function done(share: number): string {
  return share > 0 && share < 1e-4 ? "<0.01%" : percent(share);
}

/** Bytes with decimal prefixes, as disks and networks count. */
export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let scaled = value;
  let unit = 0;
  while (Math.abs(scaled) >= 999.5 && unit < units.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(scaled) : scaled.toPrecision(3)}${THIN}${units[unit]}`;
}

/** A duration: 0.42 s, 12 s, 3 min 20 s, 2 h 05 min, 4 d 3 h. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 1)
    return seconds < 0.0005
      ? "0 s"
      : `${seconds >= 0.1 ? String(Math.round(seconds * 1000)) : (seconds * 1000).toPrecision(2)}${THIN}ms`;
  if (seconds < 10) return `${seconds.toPrecision(2)}${THIN}s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}${THIN}s`;
  if (whole < 3600)
    return `${Math.floor(whole / 60)}${THIN}min ${String(whole % 60).padStart(2, "0")}${THIN}s`;
  if (whole < 86_400) {
    const minutes = Math.round(whole / 60);
    return `${Math.floor(minutes / 60)}${THIN}h ${String(minutes % 60).padStart(2, "0")}${THIN}min`;
  }
  const hours = Math.round(whole / 3600);
  return `${Math.floor(hours / 24)}${THIN}d ${hours % 24}${THIN}h`;
}

/** Amount per second: "48.2 k tokens/s", "12.3 MB/s". */
export function rate(value: number | null | undefined, unit: string): string {
  if (value === null || value === undefined) return "–";
  return unit === "bytes" ? `${bytes(value)}/s` : `${figure(value)} ${unit}/s`;
}

/** An amount with its unit. */
export function amount(value: number | null | undefined, unit?: string | null): string {
  if (unit === "bytes") return bytes(value);
  if (unit === "bytes/s") return rate(value, "bytes");
  if (value === null || value === undefined) return "–";
  return unit ? `${figure(value)}\u00a0${unit}` : figure(value);
}

/** How long ago (or ahead): "just now", "4 min ago", "in 2 h", "3 d ago", then the date. */
export function ago(time: Date, now: Date = new Date()): string {
  const seconds = (now.getTime() - time.getTime()) / 1000;
  const size = Math.abs(seconds);
  if (size < 10) return "just now";
  if (size > 30 * 86_400) return time.toISOString().slice(0, 10);
  const [value, unit] =
    size < 60
      ? [size, "s"]
      : size < 3600
        ? [size / 60, "min"]
        : size < 86_400
          ? [size / 3600, "h"]
          : [size / 86_400, "d"];
  const words = `${Math.floor(value as number)}${THIN}${unit}`;
  return seconds > 0 ? `${words} ago` : `in ${words}`;
}

/** A moment in UTC, to the second. */
export function utc(time: Date): string {
  return `${time.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** The server's timestamps are UTC; without a zone they must not be read as local time. */
export function parseTime(text: string): Date {
  return new Date(/[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : `${text}Z`);
}

/** "1 row", "3 rows". */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${figure(count)} ${count === 1 ? one : many}`;
}

/** A name of the API as words: "skip_bos" → "Skip BOS", "n_tokens" → "Number of tokens". */
export function sentence(name: string): string {
  const words = name
    .replace(/^n_/, "number of ")
    .replaceAll("_", " ")
    .replaceAll(/\b(bos|eos|id|url|cpu|gpu|io|hf|l[01])\b/g, (word) => word.toUpperCase());
  return words.charAt(0).toUpperCase() + words.slice(1);
}
