/**
 * uPlot formats numbers in `navigator.language` when it loads, and fails altogether where that is no language tag:
 * Chromium says "en-US@posix" under LANG=C. Imported before uPlot.
 */
try {
  new Intl.NumberFormat(navigator.language);
} catch {
  Object.defineProperty(navigator, "language", { value: "en-US" });
}
