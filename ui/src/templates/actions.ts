import { toast } from "sonner";
import { api, body, queryClient } from "@/api/client";
import { Problem } from "@/api/problem";
import { format } from "@/kit";
import type { Template } from "./StartFrom";

/** Do it, read the list again and say what happened; a refusal is shown in its own words. */
async function act<T>(work: Promise<T>, said?: (done: T) => void): Promise<T | null> {
  try {
    const done = await work;
    void queryClient.invalidateQueries({ queryKey: ["templates"] });
    said?.(done);
    return done;
  } catch (error) {
    const problem = Problem.from(error);
    toast.error(problem.detail, { description: problem.hint ?? undefined });
    return null;
  }
}

const at = (template: Pick<Template, "id">) => ({ params: { path: { template_id: template.id } } });

export const star = (template: Template) =>
  act(
    body(
      api.PATCH("/api/v1/templates/{template_id}", {
        ...at(template),
        body: { favourite: !template.favourite },
      }),
    ),
    (done) =>
      toast.success(
        done.favourite ? `“${done.name}” is a favourite now` : `“${done.name}” is no favourite any more`,
      ),
  );

export const duplicate = (template: Template) =>
  act(body(api.POST("/api/v1/templates/{template_id}/duplicate", at(template))), (made) =>
    toast.success(`Copied as “${made.name}”`),
  );

/** Delete, with a way back: the same template under its own id, with its uses. Shipped ones are passed over. */
export async function remove(templates: Template[]): Promise<void> {
  const gone: Template[] = [];
  const own = templates.filter((one) => !one.builtin);
  if (own.length === 0) {
    toast.error("Templates that come with miStudio stay");
    return;
  }
  for (const template of own) {
    const done = await act(api.DELETE("/api/v1/templates/{template_id}", at(template)).then(() => template));
    if (done) gone.push(done);
  }
  if (gone.length === 0) return;
  toast.success(
    gone.length === 1 ? `Template “${gone[0]?.name}” deleted` : `${gone.length} templates deleted`,
    {
      duration: 10_000,
      action: { label: "Undo", onClick: () => void restore(gone) },
    },
  );
}

async function restore(templates: Template[]): Promise<void> {
  let back = 0;
  for (const template of templates) {
    const { id: _, builtin: __, architecture: ___, updated_at: ____, ...wanted } = template;
    if (await act(body(api.PUT("/api/v1/templates/{template_id}", { ...at(template), body: wanted }))))
      back++;
  }
  // The button of the notification goes with it: the keyboard goes on in the list.
  setTimeout(() => {
    if (document.activeElement === document.body)
      document.querySelector<HTMLElement>("main [role=grid]")?.focus();
  }, 400);
  if (back > 0)
    toast.success(
      templates.length === 1 ? `Template “${templates[0]?.name}” is back` : `${back} templates are back`,
    );
}

/** Save some templates (or all that people made) as a JSON file. */
export async function download(templates: Template[]): Promise<void> {
  const document = await act(
    body(api.GET("/api/v1/templates/export", { params: { query: { id: templates.map((one) => one.id) } } })),
  );
  if (!document) return;
  const link = window.document.createElement("a");
  link.href = URL.createObjectURL(
    new Blob([JSON.stringify(document, null, 2)], { type: "application/json" }),
  );
  link.download =
    templates.length === 1
      ? `${templates[0]?.name.replaceAll(/[^\w.-]+/g, "-")}.template.json`
      : "mistudio-templates.json";
  link.click();
  URL.revokeObjectURL(link.href);
  toast.success(`${format.plural(document.templates.length, "template")} exported`);
}
