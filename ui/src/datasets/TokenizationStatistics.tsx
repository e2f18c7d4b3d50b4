import { type ReactNode, useState } from "react";
import type { components } from "@/api/schema";
import { Button, Disclosure, format, Section, tip } from "@/kit";
import { glyphs } from "@/kit/TokenStrip";
import { dropWords } from "./filterWords";
import { LengthHistogram } from "./LengthHistogram";
import type { Tokenization } from "./Tokenizations";

type Statistics = components["schemas"]["TokenizationStatistics"];
type TokenFrequency = components["schemas"]["TokenFrequency"];

/** What a tokenization counted: every figure exact, with its definition on hover or focus. */
export function TokenizationStatistics({ tokenization }: { tokenization: Tokenization }) {
  const { statistics } = tokenization;
  if (!statistics) return null;
  return (
    <div className="flex flex-col gap-6">
      <Figures tokenization={tokenization} statistics={statistics} />
      <LeftOut statistics={statistics} />
      <div className="grid gap-8 lg:grid-cols-2">
        {statistics.sequence_lengths && (
          <LengthHistogram
            lengths={statistics.sequence_lengths}
            unit="tokens"
            what="sequence"
            label="Tokens in a sequence"
          />
        )}
        {statistics.row_lengths && (
          <LengthHistogram lengths={statistics.row_lengths} unit="tokens" label="Tokens in a row" />
        )}
      </div>
      {(statistics.most_frequent ?? []).length > 0 && (
        <div className="grid gap-8 lg:grid-cols-2">
          <Tokens
            title="Most frequent tokens"
            bars
            tokens={statistics.most_frequent ?? []}
            of={tokenization.n_tokens}
          />
          <Tokens
            title="Least frequent tokens that occur"
            tokens={statistics.least_frequent ?? []}
            of={tokenization.n_tokens}
          />
        </div>
      )}
    </div>
  );
}

function Figures({ tokenization, statistics }: { tokenization: Tokenization; statistics: Statistics }) {
  const tokens = tokenization.n_tokens ?? 0;
  const slots = tokens + statistics.padding_tokens;
  const share = (count: number, whole: number) => (whole > 0 ? format.percent(count / whole) : "–");
  return (
    <dl className="grid grid-cols-2 gap-x-6 gap-y-3 sm:grid-cols-4 xl:grid-cols-5">
      <Figure
        name="Tokens"
        value={format.figure(tokens)}
        hint={`${format.exact(tokens)}, padding not counted.`}
      />
      <Figure
        name="Sequences"
        value={format.figure(tokenization.n_sequences)}
        hint={`${format.exact(tokenization.n_sequences)} of ${tokenization.settings.context_length} tokens at most.`}
      />
      <Figure
        name="Rows used"
        value={share(statistics.rows_used, statistics.rows_read)}
        hint={`${format.exact(statistics.rows_used)} of ${format.exact(statistics.rows_read)} rows read.`}
      />
      <Figure
        name="Vocabulary used"
        value={
          statistics.vocabulary_size
            ? share(statistics.vocabulary_used, statistics.vocabulary_size)
            : format.figure(statistics.vocabulary_used)
        }
        hint={`${format.exact(statistics.vocabulary_used)} distinct tokens occur${
          statistics.vocabulary_size ? ` of the tokenizer's ${format.exact(statistics.vocabulary_size)}` : ""
        }.`}
      />
      <Figure
        name="Characters a token"
        value={format.figure(statistics.characters / Math.max(1, statistics.text_tokens ?? tokens))}
        hint={`${format.exact(statistics.characters)} characters of the rows used became ${format.exact(
          statistics.text_tokens ?? tokens,
        )} tokens; BOS, EOS, padding and overlap are not counted.`}
      />
      <Figure
        name="Special tokens"
        value={share(statistics.special_tokens, tokens)}
        hint={`${format.exact(statistics.special_tokens)} of the tokens are special ones, padding not counted.`}
      />
      <Figure
        name="Unknown tokens"
        value={share(statistics.unknown_tokens, tokens)}
        hint={`${format.exact(statistics.unknown_tokens)} of the tokens stand for text that the tokenizer cannot say.`}
      />
      <Figure
        name="Padding"
        value={share(statistics.padding_tokens, slots)}
        hint={`${format.exact(statistics.padding_tokens)} of ${format.exact(slots)} places in sequences are padding.`}
      />
      <Figure
        name="On disk"
        value={format.bytes(tokenization.bytes)}
        hint={`${format.exact(tokenization.bytes)} bytes.`}
      />
    </dl>
  );
}

function Figure({ name, value, hint }: { name: string; value: ReactNode; hint: string }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: the definition must be reachable by keyboard.
    <div className="min-w-0 rounded-[4px]" tabIndex={0} {...tip(hint)}>
      <dt className="truncate text-2xs text-muted">{name}</dt>
      <dd className="truncate text-lg font-medium">{value}</dd>
    </div>
  );
}

/** What was left out and why, with the first rows of each kind. */
function LeftOut({ statistics }: { statistics: Statistics }) {
  const dropped = Object.entries(statistics.dropped).sort((one, other) => other[1] - one[1]);
  const examples = statistics.dropped_examples ?? {};
  return (
    <Section title="Left out">
      {dropped.length === 0 ? (
        <p className="text-muted">Nothing: every row was used as it is.</p>
      ) : (
        <ul className="flex flex-col gap-2">
          {dropped.map(([reason, count]) => (
            <li key={reason}>
              <span
                className="inline-block min-w-20 pr-3 text-right font-medium"
                {...tip(format.exact(count))}
              >
                {format.figure(count)}
              </span>
              {dropWords(reason)}
              {reason.startsWith("rows_") && statistics.rows_read > 0 && (
                <span className="ml-2 text-xs text-muted">
                  {format.percent(count / statistics.rows_read)} of the rows
                </span>
              )}
              {(examples[reason] ?? []).some((example) => example.text.trim()) && (
                <div className="ml-20 pl-1 text-xs">
                  <Disclosure label="The first of them" forced={false}>
                    <ol className="flex flex-col gap-1">
                      {(examples[reason] ?? []).map((example) => (
                        <li key={example.row} className="truncate text-muted">
                          <span className="mr-2 text-faint">row {example.row}</span>
                          {example.text}
                        </li>
                      ))}
                    </ol>
                  </Disclosure>
                </div>
              )}
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

const SHOWN = 15;

function Tokens({
  title,
  tokens,
  of,
  bars = false,
}: {
  title: string;
  tokens: TokenFrequency[];
  of: number | null;
  bars?: boolean;
}) {
  const [all, setAll] = useState(false);
  const top = Math.max(1, ...tokens.map((token) => token.count));
  return (
    <Section
      title={title}
      actions={
        tokens.length > SHOWN && (
          <Button onClick={() => setAll(!all)}>{all ? "Fewer" : `All ${tokens.length}`}</Button>
        )
      }
    >
      <table className="w-full table-fixed text-xs">
        <thead className="sr-only">
          <tr>
            <th>Token</th>
            <th>Id</th>
            <th>Occurrences</th>
          </tr>
        </thead>
        <tbody>
          {tokens.slice(0, all ? undefined : SHOWN).map((token) => (
            <tr key={token.id} className="border-t border-line">
              <td className="truncate py-0.5 font-mono whitespace-pre">{shown(token.text)}</td>
              <td className="w-20 py-0.5 text-right text-muted">{token.id}</td>
              <td
                className="w-40 py-0.5 pl-3"
                {...tip(
                  `${format.exact(token.count)} occurrences${of ? `, ${format.percent(token.count / of)} of the tokens` : ""}`,
                )}
              >
                <span className="flex items-center gap-2">
                  {bars ? (
                    <span className="h-2 flex-1">
                      <span
                        className="block h-2 rounded-[1px] bg-bar"
                        style={{ width: `${Math.max(1, (100 * token.count) / top)}%` }}
                      />
                    </span>
                  ) : (
                    <span className="flex-1" />
                  )}
                  <span className="w-16 text-right">{format.figure(token.count)}</span>
                </span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Section>
  );
}

/** A token with the space that it may begin with made visible. */
function shown(text: string): string {
  return glyphs(text).replace(/^ +/, (spaces) => "␣".repeat(spaces.length));
}
