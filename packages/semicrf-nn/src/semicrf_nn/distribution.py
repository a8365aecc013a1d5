"""The semi-Markov CRF as a distribution over segmentations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution, register_kl

from semicrf_nn.backends import Backend, BackendName, backend_for, check_backend
from semicrf_nn.conditions import (
    KnownSegments,
    check_something_left,
    with_allowed,
    with_boundaries,
    with_durations,
    with_forbidden_transitions,
    with_labels,
    with_segments,
    without_scores,
)
from semicrf_nn.constraints import ForbiddenTransitions, check_one_of
from semicrf_nn.decisions import Method, position_gains
from semicrf_spec import UNKNOWN, Potentials
from semicrf_spec.operators import (
    Posteriors,
    Segmentation,
    can_look,
    check_tensors,
    expected_score,
    lengths_of,
    score_of,
)

Segments = Segmentation | Sequence[Sequence[tuple[int, int, int]]]


class SemiCRF(Distribution):
    """A batch of distributions over segmentations, `p(y) = exp(score(y) - log_partition)`.

        score(y) = start[c_1] + end[c_n]
                 + sum_i ( sum_{u=s_i}^{e_i-1} emissions[u, c_i] + duration[e_i-s_i-1, c_i]
                           + begin[s_i, c_i] + finish[e_i-1, c_i] )
                 + sum_{i>=2} transition[c_{i-1}, c_i]

    Every answer is exact, float64 where it is one number per sequence, and the same bits every time.
    Properties compute on every access; keep what you use twice.

    Args:
        emissions: `(B, T, C)` nats, score of label c at position t; any floating dtype.
        transition: `(C, C)` nats from row to column, or `(B, T, C, C)` where entry s serves the boundary
            before position s.
        duration: `(K, C)` or `(B, K, C)` nats; row d - 1 scores a segment of d positions.
        start: `(C,)` nats, first label. Missing means 0.
        end: `(C,)` nats, last label. Missing means 0.
        begin: `(B, T, C)` nats, a segment of c begins at t. Missing means 0.
        finish: `(B, T, C)` nats, a segment of c has t as its last position. Missing means 0.
        lengths: `(B,)` integers in `[0, T]`. Missing means T.
        cuts: `(B, T)` booleans, where a segment has to begin. Missing means that none has to.
        backend: `"eager"`, `"compiled"` or `"triton"`; None leaves it to the device of the emissions.
        validate_args: whether to check values now; on a CPU they are checked again where they are used. On a
            GPU that waits for it, and is left out while a CUDA graph is captured.

    Raises: ValueError or TypeError that names the argument, what was expected and what was given. `-inf` is
        legal everywhere and forbids; NaN and `+inf` are errors.
    Source: Sarawagi & Cohen 2004.
    """

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
        backend: BackendName | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.potentials = Potentials(
            emissions, transition, duration, start, end, begin, finish, lengths, cuts
        )
        check_tensors(self.potentials)
        self.backend = check_backend(backend, None)
        batch, time, _ = self.potentials.shape
        validate = self._validate_args if validate_args is None else validate_args
        if validate and can_look(emissions):
            self.potentials.check_values()
        super().__init__(torch.Size((batch,)), torch.Size((time,)), validate_args=False)

    def __repr__(self) -> str:
        batch, time, classes = self.potentials.shape
        max_duration = self.potentials.max_duration
        return f"SemiCRF(B={batch}, T={time}, K={max_duration}, C={classes}, backend={self.backend!r})"

    @property
    def _backend(self) -> Backend:
        return backend_for(self.backend, self.potentials.emissions.device)

    @property
    def _terms(self) -> dict[str, Any]:
        return dict(self.potentials.items())

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
        return self._backend.log_partition(**self._terms)

    @property
    def posteriors(self) -> Posteriors:
        """Expected counts: position, begins, ends `(B, T, C)`, transitions and durations.

        They are the derivatives of `log_partition` by emissions, begin, finish, transition and duration.
        Cost: O(B T C (K + C)) time.
        """
        return self._backend.posteriors(**self._terms)

    @property
    def expected_counts(self) -> Tensor:
        """`(B, C)` expected number of segments of each label.

        Cost: that of `posteriors`.
        """
        return self.posteriors.begins.sum(1)

    @property
    def mode(self) -> Segmentation:  # type: ignore[override]  # an event is no tensor
        """The segmentation of highest score (Viterbi), with its `.scores` in nats.

        Of equal scores, read from the last segment backwards, the lowest label wins, then the shortest
        duration. Without segments where nothing is allowed.
        Cost: O(B T C (K + C)) time.
        """
        return self._backend.viterbi(**self._terms)

    def decode(self, method: Method = "viterbi") -> Segmentation:
        """The segmentation to answer with: the most probable, or that of the fewest expected mistakes.

            viterbi:   argmax_y p(y)
            position:  argmax_y sum_t p(label at t = y_t),  and of those labelled alike the most probable

        Under `"position"` no other allowed segmentation has more positions of the right label on average; its
        segments obey every constraint, which the likeliest labels, each by itself, need not.

        Args:
            method: `"viterbi"`, which is `mode`, or `"position"`.
        Returns: `Segmentation` with its `.scores` in nats, not differentiable; without segments where nothing
            is allowed.
        Raises: ValueError for another method.
        Cost: that of `mode`; for `"position"` that of `posteriors` and of two of them.
        Source: minimum-risk decoding, Bickel & Doksum 1977; by posteriors, Rabiner 1989.
        """
        check_one_of("method", method, get_args(Method))
        if method == "viterbi":
            return self.mode
        with torch.no_grad():
            gains = position_gains(self.potentials, self.posteriors.position)
            labels = self._with(gains).mode.to_labels(fill=UNKNOWN)
            return self._with(with_labels(self.potentials, labels)).mode

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
        return self._backend.top_k(**self._terms, k=k)

    def entropy(self) -> Tensor:
        """`-sum_y p(y) log p(y)`: `(B,)` float64 nats, exact at any length.

        Differentiable. Cost: that of `posteriors`; of its gradient five to fourteen times that, on a CPU.
        """
        return self._backend.entropy(**self._terms)

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
        return self._backend.sample(**self._terms, n=n, temperature=temperature, generator=generator)

    def cross_entropy(self, other: SemiCRF) -> Tensor:
        """`-sum_y p(y) log q(y)`, q being the other: `(B,)` float64 nats, exact at any length.

        Infinite where q forbids what p expects. Differentiable.

        Args:
            other: a distribution over segmentations of the same sequences.
        Raises: ValueError where the sequences are not the same.
        Cost: that of `posteriors`, and of the other's `log_partition`.
        Source: Li & Eisner 2009.
        """
        return self._backend.cross_entropy(**self._terms, other=_potentials_of(other))

    def kl_divergence(self, other: SemiCRF) -> Tensor:
        """`sum_y p(y) log(p(y) / q(y))`, q being the other: `(B,)` float64 nats, exact at any length.

        `cross_entropy(other) - entropy()` without its cancellation: 0 for equal potentials. It is what
        `torch.distributions.kl_divergence(p, q)` answers. Arguments and errors are those of `cross_entropy`.
        """
        return self._backend.kl_divergence(**self._terms, other=_potentials_of(other))

    def expected_score(self) -> Tensor:
        """`sum_y p(y) score(y)`: `(B,)` float64 nats, what is lost of `log_partition` to `entropy`.

        Differentiable. Cost: that of `posteriors`.
        """
        return expected_score(self.posteriors, self.potentials)

    def expected_cost(self, **costs: Tensor) -> Tensor:
        """What a segmentation costs on average: `(B,)` float64, the risk.

            sum_y p(y) cost(y),   cost(y) = the costs of the counts that y uses

        Args:
            costs: of the counts of `posteriors`, by their names: position, begins, ends, transitions,
                durations; finite, and of shapes that broadcast to theirs.
        Returns: differentiable.
        Raises: ValueError for another name or shape.
        Cost: that of `posteriors`.
        Source: Li & Eisner 2009.
        """
        posteriors = self.posteriors
        total = torch.zeros_like(self.lengths, dtype=torch.float64)
        for name, cost in costs.items():
            if name not in Posteriors._fields:
                expected = ", ".join(Posteriors._fields)
                raise ValueError(f"costs are given for {name!r}; expected some of {expected}")
            counts = getattr(posteriors, name)
            try:
                spread = torch.as_tensor(cost, device=counts.device).expand(counts.shape)
            except RuntimeError:
                raise ValueError(
                    f"the cost of {name} has shape {tuple(cost.shape)}; expected one that broadcasts to "
                    f"{tuple(counts.shape)}"
                ) from None
            total = total + (counts.double() * spread).flatten(1).sum(1)
        return total

    def uniform(self) -> SemiCRF:
        """The distribution under which everything that is allowed is equally probable."""
        return self._with(without_scores(self.potentials))

    def score(self, segments: Segments) -> Tensor:
        """Score of given segmentations: `(B,)` float64 nats, differentiable.

        Args:
            segments: a `Segmentation`, or one list of half-open `(start, end, label)` per sequence. Of a
                `Segmentation` of shape `(..., B, T)`, as of samples, the scores are `(..., B)`.
        Raises: ValueError naming the sequence and the segment that leaves a gap, overlaps, is longer than K
            or has a label out of range.
        Cost: O(B T).
        """
        return score_of(self._segmentation(segments), self.potentials)

    def log_prob(self, value: Segments | Tensor) -> Tensor:
        """Log-probability of segmentations, or of labels however they are cut.

            log_prob(segments) = score(segments) - log_partition
            log_prob(labels)   = log sum of p(y) over every segmentation y that agrees with the labels

        Args:
            value: a `Segmentation`, one list of `(start, end, label)` per sequence, or `(B, T)` integer
                labels with `-100` where the label is unknown; past the lengths anything may stand.
        Returns: `(B,)` float64 nats, `(..., B)` for a `Segmentation` of shape `(..., B, T)`, differentiable;
            `-inf` for what is forbidden.
        Raises: ValueError naming the sequence and the segment or position that is at fault.
        Cost: O(B T C (K + C)) time, twice that for labels.
        Source: Sarawagi & Cohen 2004; for labels, the marginal likelihood of Tsuboi et al. 2008.
        """
        if isinstance(value, Tensor):
            numerator = self._with(with_labels(self.potentials, value)).log_partition
        else:
            numerator = self.score(value)
        return torch.where(numerator > -torch.inf, numerator - self.log_partition, -torch.inf)

    def constrained(
        self,
        *,
        labels: Tensor | Sequence[Sequence[int]] | None = None,
        allowed: Tensor | Sequence[Any] | None = None,
        boundaries: Tensor | Sequence[Sequence[int]] | None = None,
        segments: KnownSegments | Segmentation | None = None,
        forbidden_transitions: ForbiddenTransitions | None = None,
        min_duration: int | Sequence[int] = 1,
        max_duration: int | Sequence[int] | None = None,
    ) -> SemiCRF:
        """The distribution given that constraints hold: `p(y | constraints)`.

            log p(constraints) = constrained(...).log_partition - log_partition

        What they do not allow is forbidden, everything else keeps its score: so `mode`, `sample`, posteriors
        and `log_prob` are those given the constraints, and the difference of log partitions is a loss to
        train with what is known.

        Args:
            labels: `(B, T)` integers, known labels, `-100` where one is unknown.
            allowed: booleans that broadcast to `(B, T, C)`, true where a label may be.
            boundaries: `(B, T)` integers, 1 where a segment begins, 0 where none does, `-100` where that is
                unknown; or booleans, where all are known.
            segments: one list of `(start, end, label)` a sequence, segments that there are, with gaps where
                nothing is known; label `-100` is any. Or a `Segmentation`.
            forbidden_transitions: `(C, C)` booleans, true where forbidden, or `(from, to)` pairs.
            min_duration: the shortest segment in positions, or one for each label.
            max_duration: the longest, or one for each label.
        Raises: ValueError naming the argument and what was expected, or the first sequence of which the
            constraints leave nothing.
        Cost: that of `log_partition`, to see that something is left; not while tracing or capturing.
        Source: for learning, Tsuboi et al. 2008.
        """
        found, device = self.potentials, self.potentials.emissions.device
        if labels is not None:
            found = with_labels(found, torch.as_tensor(labels, device=device))
        if allowed is not None:
            found = with_allowed(found, torch.as_tensor(allowed, device=device))
        if boundaries is not None:
            found = with_boundaries(found, torch.as_tensor(boundaries, device=device))
        if segments is not None:
            lists = segments.to_list() if isinstance(segments, Segmentation) else segments
            found = with_segments(found, lists)
        if forbidden_transitions is not None:
            found = with_forbidden_transitions(found, forbidden_transitions)
        if max_duration is not None or not (isinstance(min_duration, int) and min_duration == 1):
            found = with_durations(found, min_duration, max_duration)
        conditioned = self._with(found)
        if can_look(found.emissions):
            with torch.no_grad():
                check_something_left(conditioned.log_partition, lambda: self.log_partition)
        return conditioned

    def _with(self, potentials: Potentials[Tensor]) -> SemiCRF:
        """The same kind of distribution over other potentials, whose values have been checked."""
        return SemiCRF(**dict(potentials.items()), backend=self.backend, validate_args=False)

    def _segmentation(self, segments: Segments) -> Segmentation:
        if isinstance(segments, Segmentation):
            return segments
        batch, time, _ = self.potentials.shape
        if not isinstance(segments, Sequence):
            raise TypeError(
                f"segments are {type(segments).__name__}; expected a Segmentation or one list of "
                "(start, end, label) a sequence. Labels by position, a (B, T) tensor, are for log_prob or "
                "Segmentation.from_labels"
            )
        if len(segments) != batch:
            raise ValueError(f"{len(segments)} lists of segments given; expected B = {batch}, one a sequence")
        return Segmentation.from_list(
            segments,
            num_positions=time,
            lengths=self.lengths.tolist(),
            device=self.potentials.emissions.device,
        )


def _potentials_of(other: SemiCRF) -> Potentials[Tensor]:
    if not isinstance(other, SemiCRF):
        raise TypeError(f"other is a {type(other).__name__}; expected a SemiCRF")
    return other.potentials


register_kl(SemiCRF, SemiCRF)(SemiCRF.kl_divergence)  # type: ignore[no-untyped-call]  # PyTorch's
