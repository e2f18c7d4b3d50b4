import { TriangleAlert } from "lucide-react";
import { type ReactNode, useState } from "react";
import type { components } from "@/api/schema";
import { Bytes, Facts, format, Num } from "@/kit";
import { Disclosure } from "@/kit/Disclosure";
import { MemoryTable } from "./MemoryTable";

export type PreviewOut = components["schemas"]["ModelPreviewOut"];
export type Use = Pick<components["schemas"]["ModelPreviewWanted"], "batch_size" | "context_length">;
type Consent = components["schemas"]["ModelConsent"];

/** A model before it is added: what it is, what it takes, and what one has to agree to. */
export function Preview({
  found,
  use,
  onUse,
  loading,
  consent,
  onConsent,
}: {
  found: PreviewOut;
  /** What the memory is forecast for. */
  use: Use;
  onUse: (use: Use) => void;
  loading: components["schemas"]["ModelLoading"] | undefined;
  consent: Consent;
  onConsent: (consent: Consent) => void;
}) {
  const needed = found.files.filter((file) => file.needed);
  const chosen =
    loading?.quantization && loading.quantization !== "none" ? loading.quantization : loading?.dtype;
  const stored = Object.entries(found.stored_as)
    .map(([kind, count]) => `${kind} ${format.figure(count)}`)
    .join(", ");
  return (
    <section
      aria-label="Preview"
      className="flex flex-col gap-4 rounded-[6px] border border-line bg-surface p-3"
    >
      <div className="grid items-start gap-x-6 gap-y-1 sm:grid-cols-2">
        <Facts
          facts={[
            ["Architecture", found.architecture ?? found.model_type ?? "unknown"],
            [
              "Parameters",
              found.parameters === null ? (
                "unknown until fetched"
              ) : (
                <span key="parameters">
                  {found.parameters_approximate && "≈ "}
                  <Num value={found.parameters} />
                </span>
              ),
            ],
            ["Layers", <Num key="layers" value={found.n_layers} />],
            ["Residual width", <Num key="width" value={found.d_model} />],
            ["Vocabulary", <Num key="vocabulary" value={found.vocab_size} unit="tokens" />],
            ["Context", <Num key="context" value={found.context_length} unit="tokens" />],
          ]}
        />
        <Facts
          facts={[
            ["License", found.license ?? "not said"],
            ["Access", found.gated ? "gated: its authors ask for consent on the hub" : "open"],
            ["Weights", `${found.weights}${stored ? ` (${stored})` : ""}`],
            ...(found.commit
              ? ([["Commit", <code key="commit">{found.commit.slice(0, 12)}</code>]] as [string, ReactNode][])
              : []),
            ["To fetch", <Bytes key="bytes" value={found.bytes} />],
            [
              "Free on disk",
              <span key="free" className={found.bytes > found.bytes_free ? "text-failed" : ""}>
                {format.bytes(found.bytes_free)}
                {found.bytes > found.bytes_free && " (too little)"}
              </span>,
            ],
          ]}
        />
      </div>
      <Disclosure
        label={`${format.plural(needed.length, "file")} of ${found.files.length} would be fetched`}
        forced={false}
      >
        <ul className="max-h-48 overflow-y-auto">
          {found.files.map((file) => (
            <li key={file.name} className={`flex justify-between gap-4 ${file.needed ? "" : "text-faint"}`}>
              <code className="truncate">{file.name}</code>
              <Bytes value={file.bytes} />
            </li>
          ))}
        </ul>
      </Disclosure>
      {found.memory.length > 0 && (
        <div>
          <h3 className="mb-1 flex flex-wrap items-center gap-2 font-medium">
            Memory for
            <Count
              label="Texts at once"
              value={use.batch_size}
              max={4096}
              onValue={(batch_size) => onUse({ ...use, batch_size })}
            />
            texts of
            <Count
              label="Tokens in each text"
              value={use.context_length}
              max={1_000_000}
              onValue={(context_length) => onUse({ ...use, context_length })}
            />
            tokens
          </h3>
          <MemoryTable
            memory={found.memory}
            approximate={found.parameters_approximate}
            {...(chosen ? { chosen } : {})}
          />
        </div>
      )}
      {found.weights === "pickle" && (
        <Warning title="Its weights are pickle files">
          <p>
            A pickle can run code when it is read. PyTorch's reader takes tensors only, and would have to have
            a flaw for that; the weights are turned into safetensors once and the pickles thrown away.
          </p>
          <Agree
            checked={consent.pickle ?? false}
            onChange={(pickle) => onConsent({ ...consent, pickle })}
            label="Read the pickle files of this model"
          />
        </Warning>
      )}
      {found.code && <Code code={found.code} consent={consent} onConsent={onConsent} />}
    </section>
  );
}

/** A number that counts when one leaves the field: each is a question to the hub. */
function Count({
  label,
  value,
  max,
  onValue,
}: {
  label: string;
  value: number;
  max: number;
  onValue: (value: number) => void;
}) {
  return (
    <input
      key={value}
      type="number"
      aria-label={label}
      className="field w-20 font-normal"
      min={1}
      max={max}
      defaultValue={value}
      onBlur={(event) => {
        const next = Math.round(Number(event.target.value));
        if (next !== value && next >= 1 && next <= max) onValue(next);
        else event.target.value = String(value);
      }}
      onKeyDown={(event) => {
        if (event.key !== "Enter") return;
        // Not the form's own Enter, which would add the model.
        event.preventDefault();
        event.currentTarget.blur();
      }}
    />
  );
}

function Code({
  code,
  consent,
  onConsent,
}: {
  code: components["schemas"]["ModelCodeOut"];
  consent: Consent;
  onConsent: (consent: Consent) => void;
}) {
  const [shown, setShown] = useState(code.files[0]?.name ?? "");
  const file = code.files.find((one) => one.name === shown);
  return (
    <Warning title={`It brings ${format.plural(code.files.length, "Python file")} of its own`}>
      <p>
        They are not needed where Transformers knows the architecture. If you let them run, they can do
        whatever the user that runs this server can: read files, use the network. Read them first.
      </p>
      <div className="flex flex-wrap gap-1" role="tablist" aria-label="Files">
        {code.files.map((one) => (
          <button
            key={one.name}
            type="button"
            role="tab"
            aria-selected={one.name === shown}
            className={`rounded-[4px] border px-1.5 font-mono text-xs ${one.name === shown ? "border-accent bg-accent-wash" : "border-line"}`}
            onClick={() => setShown(one.name)}
          >
            {one.name} <span className="text-muted">{format.bytes(one.bytes)}</span>
          </button>
        ))}
      </div>
      {file && (
        <textarea
          readOnly
          aria-label={file.name}
          className="field font-mono text-xs whitespace-pre [font-variant-ligatures:none]"
          rows={12}
          spellCheck={false}
          value={file.text}
        />
      )}
      <Agree
        checked={consent.code === code.digest}
        onChange={(agreed) => onConsent({ ...consent, code: agreed ? code.digest : null })}
        label="I have read these files: let exactly them run for this model"
      />
    </Warning>
  );
}

function Warning({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="flex flex-col gap-2 rounded-[6px] border border-warning p-3">
      <h3 className="flex items-center gap-2 font-medium text-warning">
        <TriangleAlert size={14} aria-hidden="true" />
        {title}
      </h3>
      {children}
    </div>
  );
}

function Agree({
  checked,
  onChange,
  label,
}: {
  checked: boolean;
  onChange: (checked: boolean) => void;
  label: string;
}) {
  return (
    <label className="flex items-center gap-2">
      <input
        type="checkbox"
        className="accent-accent"
        checked={checked}
        onChange={(event) => onChange(event.target.checked)}
      />
      {label}
    </label>
  );
}
