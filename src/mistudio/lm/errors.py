"""What can go wrong with a language model, said so that a person can act on it."""

from __future__ import annotations


class LanguageModelError(ValueError):
    """Anything this room refuses or fails at.

    `code` is stable and meant for programs, `message` is one sentence that says what is wrong and where,
    `hint` says what to do about it.
    """

    code = "language_model"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint


class ModelLoadError(LanguageModelError):
    """A model could not be found, fetched or read.

    Codes: those of `mistudio.hub_answers` (`hub_gated`, `hub_unreachable`, …), `not_found`, `no_config`,
    `broken_config`, `no_weights`, `pickle_weights`, `corrupt_weights`, `unsupported_architecture`, `no_tokenizer`,
    `bad_dtype`, `no_quantization`, `no_cuda`, `out_of_memory`, `already_exists`, `not_written`.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


class HookNotFound(LanguageModelError):
    """A hook point was asked for that this model does not have; the hint lists what there is."""

    code = "hook_not_found"


class TokensRefused(LanguageModelError):
    """Token ids or a prompt that this model cannot take: empty, too long, or from another vocabulary."""

    code = "tokens_refused"
