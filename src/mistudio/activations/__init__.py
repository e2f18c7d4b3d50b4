"""Cached activations: what a model computes at its hook points on a tokenization."""

from mistudio.domain import Domain, JobKind, TemplateKind

domain = Domain(
    name="activations",
    tables="mistudio.activations.tables",
    router="mistudio.activations.routes:router",
    commands="mistudio.activations.commands:app",
    job_kinds=(
        JobKind(
            "activations.harvest",
            work="mistudio.activations.work:harvest_activations",
            params="mistudio.activations.schemas:HarvestParams",
            resource="gpu",
            resumable=True,
        ),
    ),
    template_kinds=(
        TemplateKind(
            "extraction",
            "Activation extraction",
            "mistudio.activations.schemas:ExtractionTemplate",
            shipped="mistudio.activations:templates.json",
        ),
    ),
)
