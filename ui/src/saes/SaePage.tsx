import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useParams } from "@tanstack/react-router";
import { Download, Gauge, Pencil, SlidersHorizontal, Sparkles, Trash2 } from "lucide-react";
import { useState } from "react";
import { api, body } from "@/api/client";
import { useRefetchOn } from "@/api/useChannel";
import { ExtractDialog } from "@/features/ExtractDialog";
import { Extractions } from "@/features/Extractions";
import { cancelJob, retryJob } from "@/jobs/actions";
import { JobBanner, JobCell } from "@/jobs/JobState";
import {
  ActivationHistogram,
  Button,
  DeleteDialog,
  ErrorNote,
  format,
  IconButton,
  Metric,
  PageHeader,
  RenameDialog,
  Section,
  SettingFacts,
  Skeleton,
  SkeletonLines,
  Tabs,
} from "@/kit";
import { metricInfo, useTrainingForm } from "@/training/form";
import { EvaluateDialog } from "./EvaluateDialog";
import { Evaluation, useEvaluation } from "./Evaluation";
import { type Sae, SaeFacts } from "./SaeFacts";
import { useExtract } from "./useExtract";

const CRUMBS = [{ label: "SAEs", to: "/saes" }];
/** In the order in which one asks; what else was measured follows. */
const METRICS = [
  "fvu",
  "l0",
  "explained_variance",
  "cosine",
  "mse",
  "dead_latents",
  "dead_fraction",
  "dense_latents",
  "relative_reconstruction_bias",
];
/** Other definitions and details: an evaluation shows them, in their place. */
const DETAIL = /^(explained_variance_|l2_|mse_per_|projection$|dense_fraction$|frequent_fraction$)/;

export function SaePage() {
  const { id } = useParams({ from: "/saes/$id" });
  const { data, error, refetch } = useQuery({
    queryKey: ["saes", id],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/saes/{sae_id}", { params: { path: { sae_id: id } }, signal })),
  });
  useRefetchOn(`saes/${id}`, ["saes", id]);
  if (!data)
    return (
      <>
        <PageHeader crumbs={CRUMBS} title="SAE" />
        <div className="px-5 py-4">
          {error ? <ErrorNote error={error} onRetry={() => void refetch()} /> : <SkeletonLines lines={6} />}
        </div>
      </>
    );
  return (
    <>
      <PageHeader
        crumbs={CRUMBS}
        title={data.name}
        state={<JobCell job={data.job} ready={data.ready} />}
        actions={<Actions sae={data} />}
      />
      <JobBanner job={data.job} onCancel={cancelJob} onRetry={retryJob} />
      <Tabs
        label="SAE"
        tabs={[
          { id: "overview", label: "Overview", content: () => <Overview sae={data} /> },
          {
            id: "features",
            label: "Features",
            count: data.extraction_count,
            content: () => <Extractions saeId={data.id} />,
          },
          {
            id: "configuration",
            label: "Configuration",
            content: () => (
              <div className="max-w-2xl p-5">
                <SettingFacts settings={flat(data.config)} />
              </div>
            ),
          },
        ]}
      />
    </>
  );
}

/** Nested settings under their path. */
function flat(settings: Record<string, unknown>, path = ""): Record<string, unknown> {
  return Object.assign(
    {},
    ...Object.entries(settings).map(([name, value]) =>
      value && typeof value === "object" && !Array.isArray(value)
        ? flat(value as Record<string, unknown>, `${path}${name}.`)
        : { [path + name]: value },
    ),
  );
}

function Actions({ sae }: { sae: Sae }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const extract = useExtract();
  const [renaming, setRenaming] = useState(false);
  const [deleting, setDeleting] = useState(false);
  const [choosing, setChoosing] = useState(false);
  const [evaluating, setEvaluating] = useState(false);
  const at = { params: { path: { sae_id: sae.id } } };
  return (
    <>
      <Button
        icon={<Gauge size={15} />}
        disabled={!sae.ready}
        hint="Run the model with it spliced in, and measure what is lost"
        onClick={() => setEvaluating(true)}
      >
        Evaluate…
      </Button>
      <Button
        icon={<SlidersHorizontal size={15} />}
        disabled={!sae.ready}
        hint="Other tokens, other conventions"
        onClick={() => setChoosing(true)}
      >
        Extract with…
      </Button>
      <Button
        look="primary"
        icon={<Sparkles size={15} />}
        disabled={!sae.ready}
        busy={extract.busy}
        hint="One pass over the tokens that it was trained on: what each latent responds to"
        onClick={() => void extract.run(sae.id)}
      >
        Extract features
      </Button>
      {sae.ready && (
        <a
          href={`/api/v1/saes/${sae.id}/download`}
          download
          aria-label="Download"
          data-tip="Download as a zip file, as it is stored"
          className="inline-flex size-7 items-center justify-center rounded-[5px] text-muted hover:bg-hover hover:text-ink"
        >
          <Download size={15} />
        </a>
      )}
      <IconButton label="Rename" onClick={() => setRenaming(true)}>
        <Pencil size={15} />
      </IconButton>
      <IconButton label="Delete SAE" onClick={() => setDeleting(true)}>
        <Trash2 size={15} />
      </IconButton>
      <EvaluateDialog sae={sae} open={evaluating} onClose={() => setEvaluating(false)} />
      <ExtractDialog sae={sae} open={choosing} onClose={() => setChoosing(false)} />
      <RenameDialog
        open={renaming}
        onClose={() => setRenaming(false)}
        name={sae.name}
        onRename={async (name) => {
          await body(api.PATCH("/api/v1/saes/{sae_id}", { ...at, body: { name } }));
          await client.invalidateQueries({ queryKey: ["saes"] });
        }}
      />
      <DeleteDialog
        open={deleting}
        onClose={() => setDeleting(false)}
        noun="SAE"
        name={sae.name}
        bytes={sae.bytes}
        readUsers={() => body(api.GET("/api/v1/saes/{sae_id}/users", at))}
        onDelete={async () => {
          await api.DELETE("/api/v1/saes/{sae_id}", {
            params: { path: { sae_id: sae.id }, query: { force: true } },
          });
          await navigate({ to: "/saes" });
          client.removeQueries({ queryKey: ["saes", sae.id] });
          void client.invalidateQueries({ queryKey: ["saes"] });
          void client.invalidateQueries({ queryKey: ["extractions"] });
        }}
      />
    </>
  );
}

function Overview({ sae }: { sae: Sae }) {
  const form = useTrainingForm();
  const evaluation = useEvaluation(sae.id);
  const names = [
    ...METRICS.filter((name) => sae.metrics[name] !== undefined),
    ...Object.keys(sae.metrics).filter(
      (name) => form?.metrics[name] && !METRICS.includes(name) && !DETAIL.test(name),
    ),
  ];
  const heldOut = sae.origin.kind === "trained" ? sae.origin.held_out_tokens : null;
  return (
    <div className="grid gap-x-10 gap-y-6 p-5 lg:grid-cols-[minmax(320px,420px)_minmax(0,1fr)]">
      <Section title="What it is">
        <SaeFacts sae={sae} />
        {sae.notes && <p className="mt-3 whitespace-pre-wrap">{sae.notes}</p>}
      </Section>
      <div className="flex min-w-0 flex-col gap-6">
        {evaluation ? (
          <Evaluation found={evaluation} />
        ) : (
          <Section title="Measured">
            {!sae.ready ? (
              <p className="text-muted">Known once it is complete.</p>
            ) : names.length === 0 ? (
              <p className="text-muted">
                Nothing was measured: an imported SAE brings its weights only. An evaluation does.
              </p>
            ) : (
              <>
                <div className="grid grid-cols-2 gap-3 sm:grid-cols-3 xl:grid-cols-4">
                  {names.map((name) => (
                    <Metric
                      key={name}
                      info={metricInfo(form?.metrics, name)}
                      value={sae.metrics[name]}
                      share={name === "dead_fraction"}
                    />
                  ))}
                </div>
                <p className="mt-2 text-xs text-muted">
                  {heldOut
                    ? `On ${format.figure(heldOut)} tokens that were held out of the training.`
                    : "In the last steps of the training."}
                </p>
              </>
            )}
          </Section>
        )}
        {sae.ready && <Weights sae={sae} />}
      </div>
    </div>
  );
}

function Weights({ sae }: { sae: Sae }) {
  const weights = useQuery({
    queryKey: ["saes", sae.id, "weights"],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/saes/{sae_id}/weights", { params: { path: { sae_id: sae.id } }, signal })),
    staleTime: Number.POSITIVE_INFINITY,
  });
  const { data } = weights;
  const shown = [
    ["Decoder norms", "‖W_dec[i]‖", data?.decoder_norms],
    ["Encoder norms", "‖W_enc[i]‖", data?.encoder_norms],
    ["Encoder biases", "b_enc[i]", data?.encoder_biases],
    ["Encoder against decoder", "cos(W_enc[i], W_dec[i])", data?.encoder_decoder_cosines],
  ] as const;
  // null is what a dictionary does not have
  const known = shown.filter(([, , histogram]) => histogram !== null);
  return (
    <Section title="Weights, over latents">
      {weights.error ? (
        <ErrorNote error={weights.error} onRetry={() => void weights.refetch()} />
      ) : (
        <div className="grid gap-x-8 gap-y-4 sm:grid-cols-2">
          {known.map(([title, formula, histogram]) => (
            <div key={title}>
              <div className="mb-1 text-xs">
                {title} <code className="text-2xs text-muted">{formula}</code>
              </div>
              {histogram ? (
                <ActivationHistogram {...histogram} label={title} unit="latent" />
              ) : (
                <Skeleton className="h-[104px] w-full" />
              )}
            </div>
          ))}
        </div>
      )}
    </Section>
  );
}
