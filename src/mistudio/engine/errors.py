"""What the engine refuses, said so that a person can act on it."""

from __future__ import annotations


class EngineError(ValueError):
    """Anything this room refuses or fails at.

    `code` is stable and meant for programs, `message` is one sentence that says what is wrong and where,
    `hint` says what to do about it.
    """

    code = "engine"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint


class ActivationsRefused(EngineError):
    """Activations that nothing may be learned from: NaN or infinite values, or none at all."""

    code = "activations_refused"


class CacheRefused(EngineError):
    """A cache of activations that is not what was asked for: of another model, hook, text or setting."""

    code = "cache_refused"


class TokensUnfit(EngineError):
    """Token sequences that the engine cannot read: empty, too few, or not tokens at all."""

    code = "tokens_unfit"
