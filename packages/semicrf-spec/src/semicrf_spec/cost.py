"""Time and memory of each backend, as formulas.

Letters as everywhere: B sequences, T positions, C labels, K longest duration.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Backend = Literal["enumeration", "edges", "eager", "compiled", "triton"]
FLOAT64 = 8
FLOAT32 = 4


class Size(NamedTuple):
    """The size of a problem: B, T, K, C."""

    batch: int
    time: int
    max_duration: int
    classes: int


def num_segmentations(length: int, num_classes: int, max_duration: int) -> int:
    """How many segmentations a sequence has: what enumeration must visit."""
    counts = [1]
    for t in range(1, length + 1):
        counts.append(num_classes * sum(counts[max(0, t - max_duration) : t]))
    return counts[length]


def scan_operations(backend: Backend, size: Size) -> int:
    """Terms summed by one scan over the batch: what `log_partition` costs, in multiply-adds.

    Enumeration visits every segmentation; edge tensors cost `T K C^2`; the factored recursion `T C (K + C)`.
    """
    b, t, k, c = size
    if backend == "enumeration":
        return b * num_segmentations(t, c, k)
    if backend == "edges":
        return b * t * k * c * c
    return b * t * c * (k + c)


def training_bytes(backend: Backend, size: Size) -> int:
    """Bytes alive at the peak of a forward and backward pass, beyond the inputs, to leading order.

    Edges and eager autograd keep what every duration contributed. The compiled scans keep two messages a
    position, one of which becomes the posterior that is scaled by the gradient of the loss; the triton
    kernels a mantissa and an exponent a direction, position, and sums of transitions.
    """
    b, t, k, c = size
    if backend == "enumeration":
        return b * num_segmentations(t, c, k) * FLOAT64
    if backend == "edges":
        return 2 * b * t * k * c * c * FLOAT64
    if backend == "eager":
        return 4 * b * t * c * (k + c) * FLOAT64
    if backend == "compiled":
        return b * (3 * t * c + 2 * k * c + 2 * c * c) * FLOAT64
    return b * (6 * t * c + k * c + c * c) * FLOAT32


def inference_bytes(backend: Backend, size: Size) -> int:
    """Bytes alive at the peak of `log_partition` without gradients, beyond the inputs.

    The scans keep a window of K positions, the compiled one for every thread: here, for every sequence.
    """
    b, _, k, c = size
    if backend in ("enumeration", "edges"):
        return training_bytes(backend, size)
    if backend == "compiled":
        return b * (10 * k + 4 * c) * c * FLOAT64
    if backend == "triton":
        return b * (3 * k + 2 * c) * c * FLOAT32
    return b * (k + c) * c * FLOAT64
