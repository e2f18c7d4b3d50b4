"""What latents' directions mean without any text: the tokens they write, and the latents they resemble.

Needs PyTorch: import it only in jobs and notebooks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mistudio.sae.kernels import top_k

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel

CONVENTION = "W_dec @ W_U"
"""No final norm, no bias: the field's convention (SAELens, SAEDashboard)."""
_BLOCK_BYTES = {"cpu": 128 << 20}
_BLOCK_BYTES_ELSEWHERE = 1 << 30


def extreme_logits(
    model: LanguageModel,
    W_dec: Tensor,
    n: int = 10,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[str, Any]:
    """The `n` tokens whose logits each direction of W_dec [m, d_model] raises and lowers most.

    Returns numpy columns top_ids, bottom_ids [m, n] uint32 and top_values, bottom_values [m, n] float32, strongest
    first; without columns ([m, 0]) where the directions are not those of the residual stream's width.
    """
    m = len(W_dec)
    n = min(n, model.vocab_size) if W_dec.shape[1] == model.d_model else 0
    found = {
        f"{side}_{what}": np.zeros((m, n), dtype)
        for side in ("top", "bottom")
        for what, dtype in (("ids", np.uint32), ("values", np.float32))
    }
    if not n:
        return found
    for rows in _blocks(m, model.vocab_size, model.device):
        logits = model.logits_of_directions(W_dec[rows].to(model.device)).float()
        for side, sign in (("top", 1), ("bottom", -1)):
            values, ids = sorted_top_k(logits if sign == 1 else logits.neg_(), n)
            found[f"{side}_ids"][rows] = ids.cpu().numpy()
            found[f"{side}_values"][rows] = sign * values.cpu().numpy()
        progress(rows.stop, m)
    return found


def neighbours(
    W_dec: Tensor, n: int = 10, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> dict[str, Any]:
    """The `n` other latents whose directions in W_dec [m, d] have the greatest cosine with each latent's.

    Returns numpy columns neighbour_ids [m, n] uint32 and neighbour_cosines [m, n] float32, closest first.
    """
    m = len(W_dec)
    n = min(n, m - 1)
    unit = torch.nn.functional.normalize(W_dec.float(), dim=1)
    ids_found, cosines = np.zeros((m, n), np.uint32), np.zeros((m, n), np.float32)
    for rows in _blocks(m, m, unit.device) if n else ():
        cosine = unit[rows] @ unit.T
        own = torch.arange(rows.start, rows.stop, device=unit.device)
        cosine[torch.arange(len(own), device=unit.device), own] = -torch.inf
        values, ids = sorted_top_k(cosine, n)
        ids_found[rows], cosines[rows] = ids.cpu().numpy(), values.cpu().numpy()
        progress(rows.stop, m)
    return {"neighbour_ids": ids_found, "neighbour_cosines": cosines}


def sorted_top_k(rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row [n, m], falling: values and indices [n, k]."""
    values, ids = top_k(rows, k)
    values, order = values.sort(dim=1, descending=True)
    return values, ids.gather(1, order)


def _blocks(n_rows: int, width: int, device: torch.device) -> list[slice]:
    step = max(16, _BLOCK_BYTES.get(device.type, _BLOCK_BYTES_ELSEWHERE) // (4 * width))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
