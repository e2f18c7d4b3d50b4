import { Link, useNavigate } from "@tanstack/react-router";
import { api, body } from "@/api/client";
import { Empty, ListPage } from "@/kit";
import { EXTRACTION_COLUMNS } from "./columns";
import { ExtractionFacts } from "./ExtractionFacts";

/** Every extraction: the way to the features of an SAE. */
export function ExtractionsPage() {
  const navigate = useNavigate();
  return (
    <ListPage
      title="Features"
      name="extractions"
      fetch={(query, signal) => body(api.GET("/api/v1/extractions", { params: { query }, signal }))}
      columns={EXTRACTION_COLUMNS}
      onOpen={(one) => void navigate({ to: "/features/$id", params: { id: one.id } })}
      preview={(one) => ({ title: one.name, content: <ExtractionFacts extraction={one} /> })}
      empty={
        <Empty title="No features yet">
          Features are extracted from an SAE: one pass over tokens finds what each latent responds to. Open an{" "}
          <Link to="/saes" className="text-accent underline">
            SAE
          </Link>{" "}
          and choose “Extract features”.
        </Empty>
      }
    />
  );
}
