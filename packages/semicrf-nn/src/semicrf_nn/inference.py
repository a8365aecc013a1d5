"""What a backend computes of a batch of distributions over segmentations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from semicrf_nn.backends import Backend, BackendName, backend_for, check_backend
from semicrf_nn.censoring import Censored, censoring_of, compared
from semicrf_nn.whole_segments import by_segment
from semicrf_spec import Potentials
from semicrf_spec.operators import (
    Posteriors,
    Segmentation,
    can_look,
    check_tensors,
    expected_score,
    lengths_of,
    validation,
)


class Inference(Distribution):
    """Potentials, and the questions of them that a backend answers; `SemiCRF` says what the arguments are."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        emissions: Tensor,
        transition: Tensor,
        duration: Tensor,
        *,
        start: Tensor | None = None,
        end: Tensor | None = None,
        begin: Tensor | None = None,
        finish: Tensor | None = None,
        lengths: Tensor | None = None,
        cuts: Tensor | None = None,
        left_censored: Censored = False,
        right_censored: Censored = False,
        backend: BackendName | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.potentials = Potentials(
            emissions, transition, duration, start, end, begin, finish, lengths, cuts
        )
        check_tensors(self.potentials)
        self.censoring = censoring_of(self.potentials, left_censored, right_censored)
        self.backend = check_backend(backend, None)
        batch, time, _ = self.potentials.shape
        with validation(validate_args):
            if can_look(emissions):
                self.potentials.check_values(self.censoring.left, self.censoring.right)
        super().__init__(torch.Size((batch,)), torch.Size((time,)), validate_args=False)

    def __repr__(self) -> str:
        batch, time, classes = self.potentials.shape
        max_duration = self.potentials.max_duration
        sides = (("left", self.censoring.left), ("right", self.censoring.right))
        censored = "".join(f", {side}_censored" for side, flags in sides if flags is not False)
        sizes = f"B={batch}, T={time}, K={max_duration}, C={classes}"
        return f"{type(self).__name__}({sizes}{censored}, backend={self.backend!r})"

    @property
    def _backend(self) -> Backend:
        return backend_for(self.backend, self.potentials.emissions.device)

    @property
    def _unfolded(self) -> Potentials[Tensor]:
        """The potentials that a backend is asked about, over copies of the labels where it is censored."""
        return self.censoring.unfolded(self.potentials)

    @property
    def lengths(self) -> Tensor:
        """`(B,)` int64 positions in each sequence."""
        return lengths_of(self.potentials)

    @property
    def log_partition(self) -> Tensor:
        """`log sum_y exp(score(y))`: `(B,)` float64 nats, differentiable.

        `-inf` where nothing is allowed, and then every gradient is 0.
        Cost: O(B T C (K + C)) time.
        """
        return self._backend.log_partition.of(self._unfolded)

    @property
    def posteriors(self) -> Posteriors:
        """Expected counts: of every part of a segmentation, how often it occurs on average.

            posteriors[part] = sum_y p(y) * (how often y has the part)

        position, begins, ends `(B, T, C)`; transitions `(B, C, C)`, or as their term has them with more axes;
        durations `(B, K, C)`, or `(B, T, K, C)`. They are the derivatives of `log_partition` by emissions,
        begin, finish, transition and duration. Where sequences are censored, derivatives by durations, and by
        transitions that depend on them, count all that a segment may have lasted, posteriors what is seen.
        Cost: O(B T C (K + C)) time.
        """
        return self.censoring.summed(self._backend.posteriors.of(self._unfolded), self.potentials)

    @property
    def segment_posteriors(self) -> Tensor:
        """`(B, T, K, C)` probability of every segment: of label c over `[s, s + d)`, at s and d - 1.

        Where sequences are censored these are the segments as they are seen.
        Differentiable. Of some segments `segment_probabilities` gives those.
        Cost: O(B T C (K + C)) time, O(B T K C) memory.
        Source: Sarawagi & Cohen 2004.
        """
        return self._posteriors_by_segment().durations

    def _posteriors_by_segment(self) -> Posteriors:
        """Posteriors whose durations are those of every segment, `(B, T, K, C)`."""
        found = self._backend.posteriors.of(by_segment(self._unfolded))
        return self.censoring.summed(found, self.potentials)

    @property
    def expected_counts(self) -> Tensor:
        """`(B, C)` expected number of segments of each label.

            expected_counts[c] = sum_t posteriors.begins[t, c]

        Differentiable. Cost: that of `posteriors`.
        """
        return self.posteriors.begins.sum(1)

    @property
    def mode(self) -> Segmentation:  # type: ignore[override]  # an event is no tensor
        """The segmentation of highest score (Viterbi), with its `.scores` in nats.

        Of equal scores, read from the last segment backwards, the lowest label wins, then the shortest
        duration. Without segments where nothing is allowed.
        Cost: O(B T C (K + C)) time.
        """
        return self.censoring.copies.folded(self._backend.viterbi.of(self._unfolded))

    def top_k(self, k: int) -> Segmentation:
        """The k segmentations of highest score, best first, each another, with their `.scores` in nats.

        Of equal scores the one that is preferred comes first, as in `mode`. Where fewer than k are allowed,
        the others have no segments and score `-inf`.

        Args:
            k: how many, at least 1.
        Returns: `Segmentation` of shape `(k, B, T)`, not differentiable; the first is the mode, and
            `.scores - log_partition` are log-probabilities.
        Raises: TypeError for a k that is no integer, ValueError for one below 1.
        Cost: O(k B T C (K + C)) time, O(k B T C) memory.
        Source: Chow & Schwartz 1989; Huang & Chiang 2005.
        """
        return self.censoring.copies.folded(self._backend.top_k.of(self._unfolded, k=k))

    def sample(  # type: ignore[override]  # an event is no tensor
        self,
        n: int | Sequence[int] = (),
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Segmentation:
        """Exact independent samples, `n` for each sequence.

            p(y) = exp(score(y) / temperature) / sum_y' exp(score(y') / temperature)

        Args:
            n: how many, for a `Segmentation` of shape `(n, B, T)`, or a shape of them; one, of shape
                `(B, T)`, if missing.
            temperature: above 0 and finite; near 0 only the best are drawn, far above 1 all alike.
            generator: on the device of the emissions; the same seed gives the same samples.
        Returns: `Segmentation` with its `.scores` at temperature 1, not differentiable; without segments
            where nothing is allowed.
        Raises: ValueError for a negative n, and for a temperature that is not above 0 and finite.
        Cost: that of `log_partition`, and O(T C) time and O(T) memory a sample. `torch.compile` takes it
            without a generator.
        Source: forward filtering, backward sampling: Chib 1996.
        """
        drawn = self._backend.sample.of(self._unfolded, n=n, temperature=temperature, generator=generator)
        return self.censoring.copies.folded(drawn)

    def entropy(self) -> Tensor:
        """`-sum_y p(y) log p(y)`: `(B,)` float64 nats, exact at any length.

        Differentiable. Cost: that of `posteriors`; of its gradient, on a CPU, four to eleven times that, and
        more where those are fastest: in linear chains, and where most of long durations count for nothing.
        """
        return self._backend.entropy.of(self._unfolded)

    def cross_entropy(self, other: Inference) -> Tensor:
        """`-sum_y p(y) log q(y)`, q being the other: `(B,)` float64 nats, exact at any length.

        Infinite where q forbids what p allows, however improbable it is. Differentiable.

        Args:
            other: a distribution over segmentations of the same sequences.
        Raises: ValueError where the sequences are not the same.
        Cost: that of `posteriors`, of the other's `log_partition` and of `mode`.
        Source: Li & Eisner 2009.
        """
        ours, theirs = self._beside(other)
        return self._backend.cross_entropy.of(ours, other=theirs)

    def kl_divergence(self, other: Inference) -> Tensor:
        """`sum_y p(y) log(p(y) / q(y))`, q being the other: `(B,)` float64 nats, exact at any length.

        `cross_entropy(other) - entropy()` without its cancellation: 0 for equal potentials. It is what
        `torch.distributions.kl_divergence(p, q)` answers. Arguments, errors and cost are those of
        `cross_entropy`.
        """
        ours, theirs = self._beside(other)
        return self._backend.kl_divergence.of(ours, other=theirs)

    def expected_score(self) -> Tensor:
        """`sum_y p(y) score(y)`: `(B,)` float64 nats, what is lost of `log_partition` to `entropy`.

        Differentiable. Cost: that of `posteriors`.
        """
        potentials = self._unfolded
        return expected_score(self._backend.posteriors.of(potentials), potentials)

    def _beside(self, other: Inference) -> tuple[Potentials[Tensor], Potentials[Tensor]]:
        """What a backend is asked about, of two distributions."""
        if not isinstance(other, Inference):
            raise TypeError(f"other is a {type(other).__name__}; expected a SemiCRF")
        return compared((self.potentials, self.censoring), (other.potentials, other.censoring))
