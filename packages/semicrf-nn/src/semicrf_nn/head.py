"""The head: parameters of a semi-Markov CRF on top of an encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Concatenate, Literal, ParamSpec, TypeVar, Unpack, cast, get_args

import torch
from torch import Tensor, nn

from semicrf_nn.backends import BackendName, check_backend
from semicrf_nn.censoring import Censored, CensoringOptions
from semicrf_nn.constraints import (
    ForbiddenTransitions,
    check_one_of,
    duration_mask,
    per_class,
    positive,
    transition_mask,
)
from semicrf_nn.decisions import Method
from semicrf_nn.distribution import Segments, SemiCRF
from semicrf_nn.durations import Durations
from semicrf_nn.impossible import check_possible, check_possible_labels
from semicrf_nn.losses import Reduction, reduced
from semicrf_nn.positions import position_weights
from semicrf_reference import eager
from semicrf_spec import UNKNOWN, Segment
from semicrf_spec.operators import Segmentation, check_label_grid, validation

Lengths = Tensor | Sequence[int] | None
Supervision = Literal["segments", "labels"]
P = ParamSpec("P")
R = TypeVar("R")


def _as_validated(
    method: Callable[Concatenate[SemiMarkovCRFHead, P], R],
) -> Callable[Concatenate[SemiMarkovCRFHead, P], R]:
    """The method, checking values as the head's `validate_args` says."""

    @wraps(method)
    def call(head: SemiMarkovCRFHead, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with validation(head.validate_args):
            return method(head, *args, **kwargs)

    return call


class SemiMarkovCRFHead(nn.Module):
    """Semi-Markov CRF over the output of any encoder.

    Args:
        num_classes: C, the number of labels.
        max_duration: K, the longest segment in positions; or one for each label.
        hidden_dim: size of the encoder's output, projected to emissions; None takes it as emissions.
        min_duration: the shortest segment in positions; or one for each label.
        forbidden_transitions: `(C, C)` boolean tensor, true where forbidden, or `(from, to)` pairs.
        duration: a distribution of durations of `num_classes` labels and up to the longest of
            `max_duration`; a table of free scores if missing.
        backend: `"eager"`, `"compiled"` or `"triton"`; None leaves it to the device of the tensors.
        use_triton: True is `backend="triton"`, False is `backend="compiled"`, None leaves it open.
        validate_args: whether `distribution`, `compute_loss` and `decode` check values. On a GPU each check
            waits for it; with False a training step never waits, unless it has weights of positions. What is
            wrong then shows as NaN, as an infinite or a wrong loss, or as an error of PyTorch's own. Shapes
            and dtypes are always checked; NaN, `+inf` and lengths too on a CPU and with `backend="eager"`.

    Attributes:
        transition: `(C, C)` parameter, nats from row to column.
        duration: `(K, C)` parameter, nats, row d - 1 scores a segment of d positions; or the module given.
        start: `(C,)` parameter, nats, first label.
        end: `(C,)` parameter, nats, last label.
        projection: `nn.Linear(hidden_dim, num_classes)`, or `nn.Identity` without `hidden_dim`.

    Raises: ValueError naming the constructor argument that cannot be.

    Example:
        >>> head = SemiMarkovCRFHead(num_classes=3, max_duration=8, hidden_dim=16)
        >>> hidden, lengths = torch.randn(2, 20, 16), torch.tensor([20, 12])
        >>> labels = torch.zeros(2, 20, dtype=torch.int64); labels[:, 6:] = 1; labels[:, 12:] = 2
        >>> loss = head.compute_loss(hidden, lengths, labels)
        >>> loss.backward()
        >>> segments = head.decode(hidden, lengths).to_list()
    """

    def __init__(
        self,
        num_classes: int,
        max_duration: int | Sequence[int],
        hidden_dim: int | None = None,
        *,
        min_duration: int | Sequence[int] = 1,
        forbidden_transitions: ForbiddenTransitions | None = None,
        duration: Durations | None = None,
        backend: BackendName | None = None,
        use_triton: bool | None = None,
        validate_args: bool = True,
    ) -> None:
        super().__init__()
        self.validate_args = validate_args
        self.num_classes = num_classes = positive("num_classes", num_classes)
        self.hidden_dim = None if hidden_dim is None else positive("hidden_dim", hidden_dim)
        self.backend = check_backend(backend, use_triton)
        longest = per_class("max_duration", max_duration, num_classes)
        shortest = per_class("min_duration", min_duration, num_classes)
        self.max_duration = max(longest)
        self.durations = tuple(zip(shortest, longest, strict=True))
        self.projection = nn.Identity() if hidden_dim is None else nn.Linear(hidden_dim, num_classes)
        self.transition = nn.Parameter(torch.zeros(num_classes, num_classes))
        if duration is not None and (duration.num_classes, duration.max_duration) != (
            num_classes,
            self.max_duration,
        ):
            raise ValueError(
                f"duration has num_classes = {duration.num_classes} and max_duration = "
                f"{duration.max_duration}; expected {num_classes} and {self.max_duration}, those of the head"
            )
        self.duration = duration or nn.Parameter(torch.zeros(self.max_duration, num_classes))
        self.start = nn.Parameter(torch.zeros(num_classes))
        self.end = nn.Parameter(torch.zeros(num_classes))
        # constraints belong to the constructor, not to what is learned
        self.register_buffer(
            "transition_mask", transition_mask(forbidden_transitions, num_classes), persistent=False
        )
        self.register_buffer("duration_mask", duration_mask(shortest, longest), persistent=False)

    def extra_repr(self) -> str:
        """The sizes, how many transitions are forbidden, and the durations of each label if bounded."""
        forbidden = int(torch.isneginf(cast(Tensor, self.transition_mask)).sum())
        bounded = any(durations != (1, self.max_duration) for durations in self.durations)
        return (
            f"num_classes={self.num_classes}, max_duration={self.max_duration}, "
            f"hidden_dim={self.hidden_dim}, forbidden_transitions={forbidden}, backend={self.backend!r}"
            + (f", durations={self.durations}" if bounded else "")
        )

    def forward(
        self, hidden: Tensor, lengths: Lengths = None, **censored: Unpack[CensoringOptions]
    ) -> SemiCRF:
        """The distribution; the same as `distribution`."""
        return self.distribution(hidden, lengths, **censored)

    @_as_validated
    def distribution(
        self,
        hidden: Tensor,
        lengths: Lengths = None,
        *,
        left_censored: Censored = False,
        right_censored: Censored = False,
    ) -> SemiCRF:
        """The distribution over segmentations, given the encoder's output.

        Args:
            hidden: `(B, T, hidden_dim)`, or `(B, T, num_classes)` nats without `hidden_dim`.
            lengths: `(B,)` integers in `[0, T]`; T if missing.
            left_censored: whether first segments may have begun before the recording did, so that what is
                seen of them may be shorter than they were; a boolean, or `(B,)` booleans.
            right_censored: whether last segments may have gone on behind the end; likewise. Every method
                that takes `hidden` takes both.
        Raises: ValueError or TypeError naming the argument, what was expected and what was given.
        """
        width, name = (
            (self.num_classes, "num_classes") if self.hidden_dim is None else (self.hidden_dim, "hidden_dim")
        )
        if not isinstance(hidden, Tensor):
            raise TypeError(
                f"hidden is a {type(hidden).__name__}; expected a tensor (B, T, {name} = {width}). "
                "Of the (output, state) that a recurrent layer returns, give the output"
            )
        if hidden.ndim != 3 or hidden.shape[-1] != width:
            raise ValueError(f"hidden has shape {tuple(hidden.shape)}; expected (B, T, {name} = {width})")
        wanted = None if self.hidden_dim is None else self.projection.weight.dtype
        if wanted not in (None, hidden.dtype) and not torch.is_autocast_enabled(hidden.device.type):
            raise TypeError(
                f"hidden has dtype {hidden.dtype}; expected {wanted}, that of the head's projection. Give "
                f"hidden.to({wanted}), or move the head with head.to({hidden.dtype})"
            )
        if lengths is not None:
            lengths = torch.as_tensor(lengths, device=hidden.device)
        duration = self.duration() if isinstance(self.duration, Durations) else self.duration
        return SemiCRF(
            self.projection(_masked(hidden, lengths)),
            self.transition + cast(Tensor, self.transition_mask),
            duration + cast(Tensor, self.duration_mask),
            start=self.start,
            end=self.end,
            lengths=lengths,
            left_censored=left_censored,
            right_censored=right_censored,
            backend=self.backend,
        )

    @_as_validated
    def compute_loss(
        self,
        hidden: Tensor,
        lengths: Lengths,
        labels_or_segments: Tensor | Segments,
        *,
        supervision: Supervision = "segments",
        reduction: Reduction = "mean",
        sequence_weight: Tensor | Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        class_weight: Tensor | Sequence[float] | None = None,
        position_weight: Tensor | Sequence[Sequence[float]] | None = None,
        **censored: Unpack[CensoringOptions],
    ) -> Tensor:
        """Negative log-likelihood, float64 nats.

            supervision="segments":  -log p(segments), a run of one label taken as one segment
            supervision="labels":    -log of the summed p of every segmentation that agrees with the labels
            weights of positions:    -sum_t w[t] log p(label at t),  w = class_weight[label] * position_weight
            label_smoothing=e:       1 - e times that, and e times the mean of -log p over all that is allowed

        Args:
            hidden: as in `distribution`.
            lengths: as in `distribution`.
            labels_or_segments: `(B, T)` integer labels; or a `Segmentation` or one list of
                `(start, end, label)` per sequence. With `supervision="labels"`, `-100` is unknown.
            supervision: what the labels say.
            reduction: `"mean"` over sequences, `"token"` over positions and what they weigh, `"sum"`, or
                `"none"` for `(B,)`, where impossible gold has an infinite loss.
            sequence_weight: `(B,)` weights, at least 0 and finite, which a mean is divided by; 1 if missing.
            label_smoothing: in `[0, 1)`, of whichever loss: all segmentations that are allowed count alike,
                whatever positions weigh.
            class_weight: `(C,)`, at least 0: what each label counts. A likelihood of segments has no parts by
                label, so with this or the next the loss is that of positions by themselves, as
                `SemiCRF.position_log_prob` has it, whatever the supervision.
            position_weight: `(B, T)`, at least 0: what each position counts, such as how unsure it is.
            censored: `left_censored` and `right_censored` as in `distribution`.
        Raises: ValueError naming the sequence and the segment that is at fault: longer than max_duration, a
            gap, an overlap, a label out of range, or ruled out by the head's constraints.
        Cost: that of `SemiCRF.log_prob`; of `cross_entropy` too where labels are smoothed. With weights of
            positions that of `SemiCRF.position_log_prob`.
        """
        check_one_of("reduction", reduction, get_args(Reduction))
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing is {label_smoothing}; expected at least 0 and less than 1")
        distribution = self.distribution(hidden, lengths, **censored)
        weight = None if sequence_weight is None else torch.as_tensor(sequence_weight)
        if class_weight is not None or position_weight is not None:
            check_one_of("supervision", supervision, get_args(Supervision))
            labels = _labels_of(distribution, labels_or_segments)
            log_probs = distribution.position_log_prob(labels)
            counted = position_weights(labels, class_weight, position_weight, self.num_classes)
            each = -torch.where(counted > 0.0, counted * log_probs, 0.0)
            if reduction != "none":
                check_possible_labels(labels, each)
            losses, sizes = each.sum(1), counted.sum(1)
        else:
            gold = _gold(distribution, labels_or_segments, supervision)
            look = None if reduction == "none" else partial(check_possible, distribution, gold)
            losses, sizes = -distribution._log_prob(gold, look), distribution.lengths
        if label_smoothing > 0.0:
            with validation(False):  # they are distributions of the same sequences
                spread = distribution.uniform().cross_entropy(distribution)
            losses = (1.0 - label_smoothing) * losses + label_smoothing * spread
        return reduced(losses, sizes, reduction, weight)

    def parameter_norm(self, p: float = 2.0) -> Tensor:
        """`sum |parameter|**p` over transition, duration, start and end, but not the projection: a penalty.

        Args:
            p: finite and at least 1; 2 is weight decay, 1 favours zeros.
        Returns: one number, `()`. Cost: O(K C + C^2).
        Raises: ValueError for another p: below 1 there is no gradient where a parameter is 0.
        """
        if not 1.0 <= p < math.inf:
            raise ValueError(f"p is {p}; expected a finite number of at least 1")
        total = self.start.new_zeros(())
        for name, parameter in self.named_parameters():
            if not name.startswith("projection"):
                total = total + parameter.abs().pow(p).sum()
        return total

    @_as_validated
    def decode(
        self,
        hidden: Tensor,
        lengths: Lengths = None,
        *,
        method: Method = "viterbi",
        **censored: Unpack[CensoringOptions],
    ) -> Segmentation:
        """The best segmentation as tensors: `.labels`, `.durations`, `.scores`, `.to_list()`.

        Args:
            method: what is best, as `SemiCRF.decode` says.
        """
        return self.distribution(hidden, lengths, **censored).decode(method)

    def decode_with_traceback(
        self, hidden: Tensor, lengths: Lengths = None, **censored: Unpack[CensoringOptions]
    ) -> list[list[Segment]]:
        """The best segmentation as one list of `Segment(start, end, label)` per sequence."""
        return self.decode(hidden, lengths, **censored).to_list()

    def compute_position_marginals(
        self, hidden: Tensor, lengths: Lengths = None, **censored: Unpack[CensoringOptions]
    ) -> Tensor:
        """`(B, T, C)` probability that position t has label c; 0 past the lengths."""
        return self.distribution(hidden, lengths, **censored).posteriors.position

    def compute_boundary_marginals(
        self, hidden: Tensor, lengths: Lengths = None, **censored: Unpack[CensoringOptions]
    ) -> Tensor:
        """`(B, T)` probability that a segment begins at position t; 1 at position 0, 0 past the lengths."""
        return self.distribution(hidden, lengths, **censored).posteriors.boundary

    def compute_entropy_streaming(
        self, hidden: Tensor, lengths: Lengths = None, **censored: Unpack[CensoringOptions]
    ) -> Tensor:
        """`(B,)` float64 nats: log_partition less expected score, on the head's backend. Exact."""
        return self.distribution(hidden, lengths, **censored).entropy()

    def compute_entropy_exact(
        self, hidden: Tensor, lengths: Lengths = None, **censored: Unpack[CensoringOptions]
    ) -> Tensor:
        """`(B,)` float64 nats: the same number from the float64 oracle, differentiable and slow."""
        return eager.entropy.of(self.distribution(hidden, lengths, **censored)._unfolded)


def _masked(hidden: Tensor, lengths: Tensor | None) -> Tensor:
    """0 past the lengths: a NaN there would reach the gradient of the projection."""
    if lengths is None or lengths.shape != hidden.shape[:1]:  # the distribution says what is wrong
        return hidden
    past = torch.arange(hidden.shape[1], device=hidden.device) >= lengths[:, None]
    return hidden.masked_fill(past[:, :, None], 0.0)


def _labels_of(distribution: SemiCRF, given: Tensor | Segments) -> Tensor:
    """`(B, T)` int64 labels, unknown past the lengths."""
    gold = _gold(distribution, given, "labels" if hasattr(given, "__array__") else "segments")
    labels = gold if isinstance(gold, Tensor) else distribution._segmentation(gold).to_labels(UNKNOWN)
    past = torch.arange(labels.shape[1], device=labels.device) >= distribution.lengths[:, None]
    return labels.long().masked_fill(past, UNKNOWN)


def _gold(
    distribution: SemiCRF, given: Tensor | Segments, supervision: Supervision
) -> Segmentation | Tensor | Segments:
    """What the likelihood is of: segments, or labels however they are cut."""
    check_one_of("supervision", supervision, get_args(Supervision))
    if hasattr(given, "__array__"):
        given = torch.as_tensor(given, device=distribution.potentials.emissions.device)
    if not isinstance(given, Tensor):
        if supervision == "labels":
            raise ValueError("supervision='labels' needs a (B, T) tensor of labels; segments were given")
        return given
    check_label_grid(given, distribution.potentials.shape[:2])
    if supervision == "labels":
        return given
    with validation(False):  # the distribution's lengths have been checked
        return Segmentation.from_labels(given, distribution.lengths)
