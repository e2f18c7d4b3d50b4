"""Steering: a warm session that writes text with and without chosen features changed, side by side."""

from mistudio.domain import Domain, JobKind, TemplateKind

domain = Domain(
    name="steer",
    tables="mistudio.steering.tables",
    router="mistudio.steering.routes:router",
    commands="mistudio.steering.commands:app",
    job_kinds=(
        JobKind(
            "steering.session",
            work="mistudio.steering.work:run_session",
            params="mistudio.steering.schemas:SessionParams",
            resource="gpu",
        ),
    ),
    template_kinds=(
        TemplateKind(
            "steering",
            "Steering prompt",
            "mistudio.steering.schemas:SteeringPrompt",
            shipped="mistudio.steering:templates.json",
        ),
    ),
    snapshots={"steering": "mistudio.steering.sessions:snapshot"},
)
