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
            resumable=True,
        ),
        JobKind(
            "datasets.compose",
            work="mistudio.datasets.composing:compose_column",
            params="mistudio.datasets.schemas:ComposeParams",
            resource="cpu",
        ),
        JobKind(
            "datasets.statistics",
            work="mistudio.datasets.statistics_work:compute_statistics",
            params="mistudio.datasets.statistics_schemas:StatisticsParams",
            resource="io",
            resumable=True,
        ),
        JobKind(
            "datasets.index",
            work="mistudio.datasets.search_work:index_rows",
            params="mistudio.datasets.rows_schemas:IndexParams",
            resource="io",
            resumable=True,
        ),
        JobKind(
            "datasets.tokenize",
            work="mistudio.datasets.tokenize_work:tokenize_dataset",
            params="mistudio.datasets.tokenization_schemas:TokenizeParams",
            resource="cpu",
            resumable=True,
        ),
    ),
)
