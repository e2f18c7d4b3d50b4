"""What can go wrong with a dictionary, each as one sentence with what to do."""


class SAEError(ValueError):
    """A refusal that a user can act on: `code` for programs, `message` and `hint` for people."""

    code = "sae_invalid"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint


class TrainingDiverged(SAEError):
    """The loss or a gradient stopped being a usable number; the weights are those before that step."""

    code = "training_diverged"

    def __init__(self, message: str, *, step: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.step = step


class TornCheckpoint(SAEError):
    """A checkpoint folder is incomplete, damaged, or was written for another configuration."""

    code = "checkpoint_torn"


class SAEFormatError(SAEError):
    """A folder cannot be read as, or written in, a community format."""

    code = "sae_format"
