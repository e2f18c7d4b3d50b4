"""Features: what each latent of an SAE responds to, from one pass over tokens."""

from mistudio.domain import Domain, JobKind

domain = Domain(
    name="features",
    tables="mistudio.features.tables",
    router="mistudio.features.routes:router",
    commands="mistudio.features.commands:app",
    job_kinds=(
        JobKind(
            "features.extract",
            work="mistudio.features.work:extract_features",
            params="mistudio.features.schemas:ExtractParams",
            resource="gpu",
            resumable=True,
        ),
    ),
)
