"""Several sources of token sequences read as one, in given shares."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from mistudio.engine.errors import TokensUnfit
from mistudio.engine.harvest_settings import HarvestSettings
from mistudio.engine.sequences import Ids, TokenSequences, sequence_order


class Mixture:
    """Token sequences of several named sources, interleaved so that every stretch has the wanted shares.

    sources: `{name: (sequences, weight)}`; weights are shares of *tokens* and need not add up to 1.

    In an epoch each source gives a number of whole sequences that makes its share of the epoch's tokens right; the
    source that is scarcest for its weight gives all it has, and nothing comes twice in an epoch. A larger source goes
    on in the next epoch where it stopped, and begins anew, in another order, when what it has left is less than a
    share: over the epochs all of it is read. Within an epoch sequence `j` of
    source `i`, whose tokens end at its `t_ij`-th, is placed at time `(t_ij - length / 2) / w_i`; sorting by time
    interleaves them. So after any number of tokens `T` each source has given `w_i T` of them, within
    `(1 + m) * context` (m sources). The order depends on the settings and the epoch only: a reader that knows where
    it stopped goes on exactly there.

    Sequence numbers of the mixture are those of the sources, one source behind the other.
    """

    def __init__(self, sources: Mapping[str, tuple[TokenSequences, float]]) -> None:
        if not sources:
            raise TokensUnfit("A mixture needs at least one source of tokens.")
        for name, (sequences, weight) in sources.items():
            if not 0 < weight < float("inf"):
                raise TokensUnfit(f"The weight of “{name}” must be a positive number, not {weight}.")
            if sequences.n_tokens == 0:
                raise TokensUnfit(f"“{name}” holds no tokens.")
        total = sum(weight for _, weight in sources.values())
        self.weights = {name: weight / total for name, (_, weight) in sources.items()}
        self._sources = [sequences for sequences, _ in sources.values()]
        self._first = np.cumsum([0, *(s.n_sequences for s in self._sources)])
        self.n_sequences = int(self._first[-1])
        self.n_tokens = sum(s.n_tokens for s in self._sources)
        self.context = max(s.context for s in self._sources)
        self.bos_id = self._one_bos(list(sources))
        self._lengths = np.concatenate([s.lengths(0, s.n_sequences).astype(np.int64) for s in self._sources])
        scarcest = min(s.n_tokens / w for s, w in zip(self._sources, self.weights.values(), strict=True))
        self._tokens_per_epoch = [scarcest * w for w in self.weights.values()]

    def _one_bos(self, names: list[str]) -> int | None:
        found = {s.bos_id for s in self._sources} - {None}
        if len(found) > 1:
            raise TokensUnfit(
                f"{' and '.join(names)} were not tokenized for one model: their beginning-of-text tokens are "
                f"{' and '.join(map(str, sorted(b for b in found if b is not None)))}.",
                "Tokenize them with the same tokenizer.",
            )
        return found.pop() if found else None

    def take(self, sequences: Ids) -> tuple[Ids, Ids]:
        """Token ids `[n, context]` and real lengths `[n]`, in the order asked for."""
        numbers = np.asarray(sequences, np.int64)
        tokens = np.zeros((len(numbers), self.context), np.int64)
        which = np.searchsorted(self._first, numbers, "right") - 1
        for source in np.unique(which).tolist():
            here = np.flatnonzero(which == source)
            ids, _ = self._sources[source].take(numbers[here] - self._first[source])
            tokens[here, : ids.shape[1]] = ids
        return tokens, self._lengths[numbers]

    def lengths(self, start: int, stop: int) -> Ids:
        """Real lengths of sequences [start, stop)."""
        return self._lengths[start:stop]

    @property
    def digest(self) -> str:
        """A digest of the sources' content and their weights, in order."""
        parts = [(s.digest, w) for s, w in zip(self._sources, self.weights.values(), strict=True)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def order(self, settings: HarvestSettings, epoch: int = 0) -> Ids:
        """The sequences of an epoch in the order in which they are read, `[n]`."""
        chosen: list[Ids] = []
        times: list[Ids] = []
        for number, (sequences, weight) in enumerate(zip(self._sources, self.weights.values(), strict=True)):
            numbers = self._epoch_of(number, sequences, settings, epoch)
            lengths = self._lengths[self._first[number] + numbers]
            chosen.append(self._first[number] + numbers)
            times.append((np.cumsum(lengths) - lengths / 2) / weight)
        return np.concatenate(chosen)[np.argsort(np.concatenate(times), kind="stable")]

    def _epoch_of(self, number: int, sequences: TokenSequences, settings: HarvestSettings, epoch: int) -> Ids:
        """What a source gives in an epoch: its share, from where the epoch before stopped."""
        share = self._tokens_per_epoch[number]
        # Its own stream of random numbers, so that two copies of one text are not read in step.
        settings = settings.model_copy(update={"seed": settings.seed * 65_537 + number})
        epochs_in_a_lap = max(1, int(sequences.n_tokens / share * (1 + 1e-9)))
        lap, part = divmod(epoch, epochs_in_a_lap)
        order = sequence_order(sequences, settings, lap)
        lengths = self._lengths[self._first[number] + order]
        # A sequence belongs to the epoch in which its middle lies: to one only, and none is cut.
        middle = np.cumsum(lengths) - lengths / 2
        return order[(middle >= part * share) & (middle < (part + 1) * share)]
