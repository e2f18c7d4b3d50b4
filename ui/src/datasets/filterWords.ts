/** Why something was left out, as one reads it; the API's names are the keys. */
const WORDS: Record<string, string> = {
  rows_empty: "empty rows",
  rows_too_short: "rows too short",
  rows_without_pattern: "rows without the pattern",
  rows_with_pattern: "rows with the unwanted pattern",
  rows_special_characters: "rows with special characters",
  rows_mostly_punctuation: "rows of punctuation and space",
  rows_near_duplicate: "near duplicates",
  rows_truncated: "rows truncated",
  sequences_too_short: "parts with too few tokens",
  sequences_unfilled: "sequences not filled",
  tokens_at_end: "tokens at the very end",
};

export function dropWords(reason: string): string {
  return WORDS[reason] ?? reason.replaceAll("_", " ");
}

/** The same of one row: "too short". */
export function rowDropWords(reason: string): string {
  return dropWords(reason)
    .replace(/^rows (of )?/, "")
    .replace(/ rows$/, "")
    .replace(/duplicates$/, "duplicate");
}
