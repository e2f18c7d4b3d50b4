import { Link } from "@tanstack/react-router";
import type { components } from "@/api/schema";
import { Bytes, Code, Facts, format, Num, RelativeTime } from "@/kit";
import { architectureName } from "./architectures";

export type Sae = components["schemas"]["SaeOut"];

/** What an SAE is and where it comes from. */
export function SaeFacts({ sae }: { sae: Sae }) {
  return (
    <Facts
      facts={[
        ["Id", <Code key="id">{sae.id}</Code>],
        [
          "Model",
          sae.model_id ? (
            <Link key="model" to="/models/$id" params={{ id: sae.model_id }} className="link">
              {sae.model_name ?? sae.model_id}
            </Link>
          ) : (
            "not known"
          ),
        ],
        ["Hook point", sae.hook ? <Code key="hook">{sae.hook}</Code> : "not known"],
        ["Architecture", architectureName(sae.architecture)],
        ["Latents", <Num key="d_sae" value={sae.d_sae} />],
        ["Width of its input", <Num key="d_in" value={sae.d_in} />],
        ["On disk", <Bytes key="bytes" value={sae.bytes} />],
        ["Origin", <Origin key="origin" sae={sae} />],
        ["Added", <RelativeTime key="created" at={sae.created_at} />],
      ]}
    />
  );
}

function Origin({ sae }: { sae: Sae }) {
  const { origin } = sae;
  if (origin.kind === "imported")
    return (
      <>
        {origin.uploaded ? "uploaded" : "imported"} from <code className="break-all">{origin.path}</code>
      </>
    );
  return (
    <>
      {sae.training_id ? (
        <Link to="/trainings/$id" params={{ id: sae.training_id }} className="text-accent underline">
          trained here
        </Link>
      ) : (
        "trained here"
      )}
      {origin.checkpoint != null && `, checkpoint of step ${format.exact(origin.checkpoint)}`}
      {origin.tokens ? `, on ${format.figure(origin.tokens)} tokens` : ""}
    </>
  );
}
