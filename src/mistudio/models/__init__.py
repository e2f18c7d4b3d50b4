"""Language models: added from a hub, a folder or a GGUF file, kept as plain safetensors folders."""

from mistudio.domain import Domain, JobKind

domain = Domain(
    name="models",
    tables="mistudio.models.tables",
    router="mistudio.models.routes:router",
    commands="mistudio.models.commands:app",
    job_kinds=(
        JobKind(
            "models.add",
            work="mistudio.models.work:add_model",
            params="mistudio.models.schemas:AddModelParams",
            resource="io",
        ),
    ),
)
