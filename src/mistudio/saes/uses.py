"""What features and steering cannot do with some kinds of dictionaries yet. Imports no PyTorch."""

from __future__ import annotations

from typing import Literal

from mistudio.errors import StudioError
from mistudio.saes.tables import Sae

Use = Literal["features", "steering"]


def check_use(sae: Sae, use: Use) -> None:
    """Refuse a dictionary that this cannot be done with. Raises StudioError `sae_not_supported`."""
    reason = obstacle(
        use,
        kind=sae.architecture or "",
        n_sites=sae.config.get("n_sites", 1),
        transcoder=sae.config.get("transcoder", False),
    )
    if reason is not None:
        raise StudioError(
            "sae_not_supported",
            f"The SAE “{sae.name}” {reason}.",
            hint="It can be looked at and exported.",
            fields={"sae_id": "of a kind that is not supported here"},
        )


def obstacle(use: Use, *, kind: str, n_sites: int, transcoder: bool) -> str | None:
    """Why this cannot be done with a dictionary, as the rest of a sentence about it; None where it can."""
    if kind == "temporal":
        return "is a temporal dictionary, which encodes whole texts only, not tokens one by one"
    if n_sites > 1:
        return f"is a crosscoder, which reads {n_sites} hook points at once; {use} can read one"
    if transcoder and use == "steering":
        return "is a transcoder, which writes to another hook point than the one that it reads; steering cannot do that"
    return None
