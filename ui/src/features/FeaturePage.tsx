import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { ArrowLeft, ArrowRight, SlidersHorizontal, Star } from "lucide-react";
import { useEffect } from "react";
import { api, body } from "@/api/client";
import {
  Button,
  ErrorNote,
  format,
  IconButton,
  PageHeader,
  Skeleton,
  SkeletonLines,
  useKeys,
  useSearchParams,
} from "@/kit";
import { writeChosen } from "@/steering/chosen";
import { changeFeature } from "./changes";
import { Examples } from "./Examples";
import { FeatureFigures } from "./FeatureFigures";
import { FeatureSide } from "./FeatureSide";
import { LabelEditor } from "./LabelEditor";
import { Logits } from "./Logits";
import { featureOptions, locate, type Place, useFeatureQuery } from "./query";
import { useFollow } from "./useFollow";

export function FeaturePage() {
  const params = useParams({ from: "/features/$id/$index" });
  const { id } = params;
  const index = Number(params.index);
  const client = useQueryClient();
  const navigate = useNavigate();
  const { query } = useFeatureQuery();
  const [search] = useSearchParams();
  const hint = typeof search.at === "number" ? search.at : undefined;
  useFollow(id);
  const extraction = useQuery({
    queryKey: ["extractions", id],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/extractions/{extraction_id}", { params: { path: { extraction_id: id } }, signal }),
      ),
  });
  const tokenizationId = extraction.data?.tokenization_id;
  const tokenization = useQuery({
    queryKey: ["tokenizations", tokenizationId],
    enabled: typeof tokenizationId === "string",
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/tokenizations/{tokenization_id}", {
          params: { path: { tokenization_id: tokenizationId ?? "" } },
          signal,
        }),
      ),
  });
  const { data: feature, error, refetch } = useQuery(featureOptions(id, index));
  const { data: place } = useQuery({
    queryKey: ["features", id, "place", query, index, hint],
    queryFn: ({ signal }) => locate(id, query, index, hint, signal),
  });
  // Whoever moves on finds the next page there already.
  useEffect(() => {
    for (const beside of [place?.next, place?.previous])
      if (beside) void client.prefetchQuery({ ...featureOptions(id, beside.row.index), staleTime: 30_000 });
  }, [client, id, place]);

  const go = (beside: Place["next"] | undefined) => {
    if (!beside) return;
    void navigate({
      to: "/features/$id/$index",
      params: { id, index: String(beside.row.index) },
      search: { ...query, at: beside.at } as never,
      replace: true,
    });
  };
  const back = () =>
    void navigate({ to: "/features/$id", params: { id }, search: { ...query, open: index } as never });
  const star = () => feature && void changeFeature(id, feature.row, { starred: !feature.row.starred });
  const steer = () =>
    feature &&
    void navigate({
      to: "/steering",
      search: {
        sae: feature.sae_id,
        f: writeChosen([{ sae: feature.sae_id, index, strength: 1, mode: "add" }]),
      } as never,
    });
  useKeys("Feature", [
    { keys: "j", label: "next feature of the list", run: () => go(place?.next) },
    { keys: "]", label: "next feature of the list", run: () => go(place?.next) },
    { keys: "k", label: "previous feature of the list", run: () => go(place?.previous) },
    { keys: "[", label: "previous feature of the list", run: () => go(place?.previous) },
    { keys: "s", label: "star", run: star },
    { keys: "x", label: "steer with it", run: steer },
    { keys: "escape", label: "back to the list", run: back },
  ]);
  const name = extraction.data?.sae_name || "Features";
  const row = feature?.row;
  return (
    <>
      <PageHeader
        crumbs={[
          { label: "Features", to: "/features" },
          { label: name, to: `/features/${id}`, search: { ...query, open: index } },
        ]}
        title={`Feature ${params.index}`}
        state={
          row && (
            <IconButton
              label={row.starred ? "Take the star away (s)" : "Star (s)"}
              aria-pressed={row.starred}
              onClick={star}
            >
              <Star size={15} className={row.starred ? "fill-current text-warning" : ""} />
            </IconButton>
          )
        }
        actions={
          <>
            <span className="hidden text-muted sm:inline">
              {place?.moved
                ? "no longer at its place in the list"
                : place
                  ? `${format.figure(place.at + 1)} of ${format.figure(place.total)}`
                  : place === null
                    ? "not among the first of the list"
                    : ""}
            </span>
            <IconButton
              label="Previous feature (k or [)"
              disabled={!place?.previous}
              onClick={() => go(place?.previous)}
            >
              <ArrowLeft size={16} />
            </IconButton>
            <IconButton label="Next feature (j or ])" disabled={!place?.next} onClick={() => go(place?.next)}>
              <ArrowRight size={16} />
            </IconButton>
            <Button look="primary" icon={<SlidersHorizontal size={15} />} disabled={!feature} onClick={steer}>
              Steer with it
            </Button>
          </>
        }
      />
      {error ? (
        <div className="p-5">
          <ErrorNote error={error} onRetry={() => void refetch()} />
          <p className="mt-3">
            <Link to="/features/$id" params={{ id }} className="link">
              Back to the list
            </Link>
          </p>
        </div>
      ) : (
        <div className="flex min-h-0 flex-1 flex-col overflow-y-auto lg:flex-row lg:overflow-hidden">
          <div className="shrink-0 border-line p-5 lg:w-[272px] lg:overflow-y-auto lg:border-r 2xl:w-[340px]">
            {feature ? (
              <div className="flex flex-col gap-5">
                <LabelEditor key={index} extractionId={id} row={feature.row} />
                <FeatureFigures feature={feature} />
                <Logits feature={feature} />
              </div>
            ) : (
              <div role="status" aria-label="Loading" className="flex flex-col gap-4">
                <Skeleton className="h-8 w-2/3" />
                <Skeleton className="h-24 w-full" />
                <Skeleton className="h-24 w-full" />
                <Skeleton className="h-48 w-full" />
              </div>
            )}
          </div>
          <section
            aria-label="Examples"
            // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard.
            tabIndex={0}
            className="min-w-0 flex-1 p-5 lg:overflow-y-auto"
          >
            {feature ? (
              <Examples key={index} feature={feature} datasetId={tokenization.data?.dataset_id ?? null} />
            ) : (
              <SkeletonLines lines={14} />
            )}
          </section>
          <div className="shrink-0 border-line p-5 lg:w-[264px] lg:overflow-y-auto lg:border-l 2xl:w-[340px]">
            {feature ? <FeatureSide feature={feature} query={query} /> : <SkeletonLines lines={8} />}
          </div>
        </div>
      )}
    </>
  );
}
