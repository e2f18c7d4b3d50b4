"""Labels: what a feature stands for, by a person or by a machine, each with its source, its score and its history."""

from mistudio.domain import Domain, JobKind, TemplateKind

_RUN = {"work": "mistudio.labels.work:label_features", "params": "mistudio.labels.schemas:LabellingParams"}

domain = Domain(
    name="labels",
    tables="mistudio.labels.tables",
    router="mistudio.labels.routes:router",
    commands="mistudio.labels.commands:app",
    job_kinds=(
        JobKind("labels.run", resource="gpu", resumable=True, **_RUN),
        # An endpoint elsewhere does the work: hours of waiting must not hold a GPU.
        JobKind("labels.run_remote", resource="io", resumable=True, **_RUN),
    ),
    template_kinds=(
        TemplateKind(
            "labelling",
            "Labelling prompt",
            "mistudio.labels.schemas:LabellingTemplate",
            shipped="mistudio.labels:templates.json",
        ),
    ),
)
