"""Language models: added from a hub, a folder or a GGUF file, kept as plain safetensors folders, looked at, asked."""

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
            resumable=True,
        ),
        JobKind(
            "models.verify",
            work="mistudio.models.work:verify_model",
            params="mistudio.models.schemas:VerifyParams",
            resource="gpu",
        ),
        JobKind(
            "models.session",
            work="mistudio.models.session_work:run_session",
            params="mistudio.models.request_schemas:SessionParams",
            resource="gpu",
        ),
    ),
    snapshots={"playground": "mistudio.models.requests:snapshot"},
)
