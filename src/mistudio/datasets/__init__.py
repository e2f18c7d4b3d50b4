"""Data sets of text, and their tokenizations."""

from mistudio.domain import Domain, JobKind

domain = Domain(
    name="datasets",
    tables="mistudio.datasets.tables",
    router="mistudio.datasets.routes:router",
    commands="mistudio.datasets.commands:app",
    job_kinds=(
        JobKind(
            "datasets.import",
            work="mistudio.datasets.work:import_dataset",
            params="mistudio.datasets.schemas:ImportParams",
            resource="io",
        ),
        JobKind(
            "datasets.tokenize",
            work="mistudio.datasets.work:tokenize_dataset",
            params="mistudio.datasets.schemas:TokenizeParams",
            resource="cpu",
            resumable=True,
        ),
    ),
)
