"""The semi-Markov CRF as a distribution over segmentations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import torch
from torch import Tensor
from torch.distributions import register_kl

from semicrf_nn.conditions import (
    KnownSegments,
    check_something_left,
    lists_of,
    selected,
    tensor_of,
    with_allowed,
    with_boundaries,
    with_durations,
    with_forbidden_transitions,
    with_labels,
    with_segments,
    without_scores,
)
from semicrf_nn.constraints import ForbiddenTransitions, check_one_of
from semicrf_nn.decisions import Method, expected_cost, position_gains, segment_gains
from semicrf_nn.inference import Inference
from semicrf_nn.positions import entropy_of_labels, log_prob_of_labels
from semicrf_nn.whole_segments import picked
from semicrf_spec import UNKNOWN, Potentials
from semicrf_spec.operators import Censoring, Segmentation, can_look, check_label_grid

Segments = Segmentation | Sequence[Sequence[tuple[int, int, int]]]


class SemiCRF(Inference):
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
            before position s. With `backend="eager"` also `(K, C, C)` or `(B, T, K, C, C)`, where row d - 1
            serves those into segments of d positions.
        duration: `(K, C)` or `(B, K, C)` nats; row d - 1 scores a segment of d positions. Or `(B, T, K, C)`,
            where entry s serves what begins at s, so that every segment has a score.
        start: `(C,)` nats, first label. Missing means 0.
        end: `(C,)` nats, last label. Missing means 0.
        begin: `(B, T, C)` nats, a segment of c begins at t. Missing means 0.
        finish: `(B, T, C)` nats, a segment of c has t as its last position. Missing means 0.
        lengths: `(B,)` integers in `[0, T]`. Missing means T.
        cuts: `(B, T)` booleans, where a segment has to begin. Missing means that none has to.
        left_censored: whether first segments may have begun before the recording did; a boolean, or `(B,)`.
            Of m seen positions, the score is the log of the summed `exp(duration)` of all that the segment
            may have lasted, m to K, at the position where it is first seen. So the distribution is over what
            is seen, `durations` of posteriors too, and of scores of whole segments those count, and have to
            be sound, that end past the end: of a first segment, on the left, of every one on the right.
        right_censored: whether last segments may have gone on behind the end; likewise. Transitions that
            depend on durations are summed together with them.
        backend: `"eager"`, `"compiled"` or `"triton"`; None leaves it to the device of the emissions.
        validate_args: whether to check values now, which is done if missing; on a CPU they are checked again
            where they are used. On a GPU that waits for it, and is left out while a CUDA graph is captured.

    Raises: ValueError or TypeError that names the argument, what was expected and what was given. `-inf` is
        legal everywhere and forbids; NaN and `+inf` are errors.
    Cost: censored on one side that of 2 C labels, on both that of 4 C; of scores of whole segments two and
        four float64 tables.
    Source: Sarawagi & Cohen 2004; for what is cut off, Guédon 2003.
    """

    def decode(self, method: Method = "viterbi") -> Segmentation:
        """The segmentation to answer with: the most probable, or that of the fewest expected mistakes.

            viterbi:     argmax_y p(y)
            position:    argmax_y sum_t p(label at t = y_t),  and of those labelled alike the most probable
            segment_f1:  argmax_y sum of p(segment) over the segments of y

        Under `"position"` no other allowed segmentation has more positions of the right label on average,
        under `"segment_f1"` none has more segments of which begin, end and label are right. Both obey every
        constraint, which the likeliest labels, each by itself, need not.

        Args:
            method: `"viterbi"`, which is `mode`, `"position"` or `"segment_f1"`.
        Returns: `Segmentation` with its `.scores` in nats, not differentiable; without segments where nothing
            is allowed.
        Raises: ValueError for another method.
        Cost: that of `mode`; for `"position"` that of `posteriors` and of two of them, for `"segment_f1"`
            that of `segment_posteriors` and of one.
        Source: minimum-risk decoding, Bickel & Doksum 1977; by posteriors, Rabiner 1989.
        """
        check_one_of("method", method, get_args(Method))
        if method == "viterbi":
            return self.mode
        with torch.no_grad():
            if method == "segment_f1":
                copies = self.censoring.copies
                gains = segment_gains(self._unfolded, copies.spread(self.segment_posteriors))
                found = copies.folded(self._backend.viterbi.of(gains))
                return Segmentation(found.labels, found.durations, found.lengths, self.score(found))
            gains = position_gains(self.potentials, self.posteriors.position)
            labels = self._with(gains, self.censoring.unweighted).mode.to_labels(fill=UNKNOWN)
            return self._with(with_labels(self.potentials, labels)).mode

    def segment_probabilities(self, segments: KnownSegments | Segmentation) -> list[Tensor]:
        """The probability that a segmentation holds given segments, each by itself: how sure an answer is.

            p(segment) = sum of p(y) over every y that holds it

        Args:
            segments: one list of `(start, end, label)` a sequence, in any order, overlapping or not; label
                `-100` is any label. Or a `Segmentation`, as of `decode`.
        Returns: a tensor for each sequence, `(number of its segments,)`, differentiable; 0 for a segment
            longer than K.
        Raises: ValueError naming the sequence and the segment that does not fit into it.
        Cost: that of `segment_posteriors`.
        """
        return picked(self.segment_posteriors, lists_of(segments), self.potentials)

    def position_log_prob(self, labels: Tensor) -> Tensor:
        """Log-probability of the label of each position by itself, whatever the others bear.

            log p(label at t = labels[t]) = log posteriors.position[t, labels[t]]

        and for each position where p is below 1e-4 (on a GPU 1e-2) by a `log_prob` of its own, all other
        labels unknown: the difference that a posterior is has too few digits there.

        Args:
            labels: `(B, T)` integers, `-100` where unknown; past the lengths anything may stand.
        Returns: `(B, T)` float64 nats, differentiable; 0 where the label is unknown and past the lengths.
        Raises: ValueError naming the sequence and the position of a label out of range.
        Cost: that of `posteriors`, and the time and memory of a `log_prob` for each position of a label that
            is as improbable: much, for a model that is confidently wrong at many. Not in a compiled graph.
        Source: Kakade, Teh & Roweis 2002.
        """
        check_label_grid(labels, self.potentials.shape[:2])
        known = torch.ops.semicrf.check_labels(labels, self.lengths, self.potentials.shape[2])

        def by_scan(sequences: Tensor, alone: Tensor) -> Tensor:
            return self._selected(sequences).log_prob(alone)

        return log_prob_of_labels(self.posteriors.position, known, by_scan)

    def position_entropy(self) -> Tensor:
        """`(B, T)` nats: how unsure the label of each position is by itself, 0 past the lengths.

            position_entropy[t] = -sum_c p(label at t = c) log p(label at t = c)

        Differentiable. Cost: that of `posteriors`.
        """
        return entropy_of_labels(self.posteriors.position)

    def expected_cost(self, **costs: Tensor) -> Tensor:
        """What a segmentation costs on average: `(B,)` float64, the risk.

            sum_y p(y) cost(y),   cost(y) = the costs of the counts that y uses

        Args:
            costs: of the counts of `posteriors`, by their names: position, begins, ends, transitions,
                durations; or of `segments`, `(B, T, K, C)`, one for every segment. Of shapes that broadcast
                to those of the counts. What cannot be costs nothing, whatever stands there: past the lengths
                too.
        Returns: differentiable.
        Raises: ValueError for another name or shape.
        Cost: that of `posteriors`; of `segment_posteriors` for costs of segments.
        Source: Li & Eisner 2009.
        """
        if "segments" not in costs:
            return expected_cost(self.posteriors, None, costs)
        posteriors = self._posteriors_by_segment()
        segments, durations = posteriors.durations, self.potentials.duration
        own = segments if durations.ndim == 4 else segments.sum(1)
        return expected_cost(posteriors._replace(durations=own), segments, costs)

    def uniform(self) -> SemiCRF:
        """The distribution under which everything that is allowed is equally probable.

            p(y) = 1 / (how many segmentations are allowed)

        Its `log_partition` is the log of that number, and its entropy too. Cost: O(B T C) to make.
        """
        return self._with(without_scores(self.potentials), self.censoring.unweighted)

    def score(self, segments: Segments) -> Tensor:
        """Score of given segmentations: `(B,)` float64 nats, differentiable.

        Args:
            segments: a `Segmentation`, or one list of half-open `(start, end, label)` per sequence. Of a
                `Segmentation` of shape `(..., B, T)`, as of samples, the scores are `(..., B)`.
        Raises: ValueError naming the sequence and the segment that leaves a gap, overlaps, is longer than K
            or has a label out of range.
        Cost: O(B T).
        """
        return self.censoring.score(self._segmentation(segments), self.potentials)

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
        return self._log_prob(value)

    def _log_prob(self, value: Segments | Tensor, look: Callable[[Tensor], None] | None = None) -> Tensor:
        """`log_prob`; `look` is shown the log of what `value` weighs, before everything is scanned too."""
        unfolded = self._unfolded
        if isinstance(value, Tensor):
            weight = self._with(with_labels(self.potentials, value)).log_partition
        else:
            weight = self.censoring.score(self._segmentation(value), self.potentials, unfolded)
        if look is not None:
            look(weight)
        total = self._backend.log_partition.of(unfolded)
        return torch.where(weight > -torch.inf, weight - total, -torch.inf)

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
        train with what is known. Of segments that were cut off, `min_duration` and `max_duration` bound how
        long they lasted, unseen positions included.

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
            found = with_labels(found, tensor_of("labels", labels, device))
        if allowed is not None:
            found = with_allowed(found, tensor_of("allowed", allowed, device))
        if boundaries is not None:
            found = with_boundaries(found, tensor_of("boundaries", boundaries, device))
        if segments is not None:
            found = with_segments(found, lists_of(segments))
        if forbidden_transitions is not None:
            found = with_forbidden_transitions(found, forbidden_transitions)
        if max_duration is not None or not (isinstance(min_duration, int) and min_duration == 1):
            found = with_durations(found, min_duration, max_duration)
        conditioned = self._with(found)
        if can_look(found.emissions):
            with torch.no_grad():
                check_something_left(conditioned.log_partition, lambda: self.log_partition)
        return conditioned

    def _with(self, potentials: Potentials[Tensor], censoring: Censoring | None = None) -> SemiCRF:
        """The same kind of distribution over other potentials, whose values have been checked."""
        found = SemiCRF(**dict(potentials.items()), backend=self.backend, validate_args=False)
        found.censoring = self.censoring if censoring is None else censoring
        return found

    def _selected(self, sequences: Tensor) -> SemiCRF:
        """The distribution over some of the sequences, given by their numbers, any number of times each."""
        return self._with(selected(self.potentials, sequences), self.censoring.selected(sequences))

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


register_kl(SemiCRF, SemiCRF)(SemiCRF.kl_divergence)  # type: ignore[no-untyped-call]  # PyTorch's
