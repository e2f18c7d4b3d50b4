"""Trainings: an SAE learned from a model's activations on a tokenization, with live metrics and checkpoints."""

from mistudio.domain import Domain, JobKind, TemplateKind

domain = Domain(
    name="train",
    tables="mistudio.training.tables",
    router="mistudio.training.routes:router",
    commands="mistudio.training.commands:app",
    job_kinds=(
        JobKind(
            name="training.run",
            work="mistudio.training.work:run_sweep",
            params="mistudio.training.schemas:TrainingJob",
            resource="gpu",
            resumable=True,
        ),
        JobKind(
            name="training.checkpoint_sae",
            work="mistudio.training.checkpoint_work:make_sae",
            params="mistudio.training.control_schemas:CheckpointSaeJob",
            resource="io",  # seconds of work, which must not wait for the training that it is about
        ),
        JobKind(
            name="training.compare_checkpoints",
            work="mistudio.training.checkpoint_work:compare",
            params="mistudio.training.control_schemas:CheckpointComparison",
            resource="io",
        ),
    ),
    template_kinds=(
        TemplateKind(
            "training",
            "Training",
            "mistudio.training.schemas:TrainingTemplate",
            architecture="config.architecture.kind",
            shipped="mistudio.training:templates.json",
        ),
    ),
    snapshots={"trainings": "mistudio.training.views:snapshot"},
)
