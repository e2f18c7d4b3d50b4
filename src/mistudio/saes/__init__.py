"""Sparse autoencoders: all dictionaries, trained here or brought from elsewhere."""

from mistudio.domain import Domain, JobKind

domain = Domain(
    name="saes",
    tables="mistudio.saes.tables",
    router="mistudio.saes.routes:router",
    commands="mistudio.saes.commands:app",
    job_kinds=(
        JobKind(
            "saes.import",
            work="mistudio.saes.work:import_sae",
            params="mistudio.saes.schemas:ImportParams",
            resource="io",
        ),
        JobKind(
            "saes.evaluate",
            work="mistudio.saes.evaluation_work:evaluate_saes",
            params="mistudio.saes.schemas:EvaluateParams",
            resource="gpu",
        ),
    ),
)
