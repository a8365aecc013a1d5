"""Which backend answers: the one asked for, or the one for the device of the tensors."""

from __future__ import annotations

from typing import Literal, Protocol, cast, get_args

import torch
from torch import Tensor

import semicrf_triton
from semicrf_reference import compiled, eager
from semicrf_spec.operators import OverTerms, Posteriors, Segmentation

BackendName = Literal["eager", "compiled", "triton"]


class Backend(Protocol):
    """What every backend exports."""

    @property
    def log_partition(self) -> OverTerms[Tensor]:
        """`(B,)` float64 nats."""

    @property
    def posteriors(self) -> OverTerms[Posteriors]:
        """Expected counts."""

    @property
    def viterbi(self) -> OverTerms[Segmentation]:
        """The best segmentation."""

    @property
    def top_k(self) -> OverTerms[Segmentation]:
        """The k best segmentations."""

    @property
    def sample(self) -> OverTerms[Segmentation]:
        """Samples."""

    @property
    def cross_entropy(self) -> OverTerms[Tensor]:
        """`(B,)` float64 nats."""

    @property
    def kl_divergence(self) -> OverTerms[Tensor]:
        """`(B,)` float64 nats."""

    @property
    def entropy(self) -> OverTerms[Tensor]:
        """`(B,)` float64 nats."""


BACKENDS: dict[str, Backend] = {"eager": eager, "compiled": compiled, "triton": semicrf_triton}
BY_DEVICE = {"cpu": "compiled", "cuda": "triton"}


def backend_for(name: BackendName | None, device: torch.device) -> Backend:
    """The backend of that name, or the fast one for the device.

    Raises: ValueError for a device that only `backend="eager"` serves.
    """
    if name is not None:
        return BACKENDS[name]
    if device.type not in BY_DEVICE:
        raise ValueError(
            f"no fast backend serves {device.type} tensors: use backend='eager', which runs on any device, "
            "or move the tensors to a CPU or a CUDA device"
        )
    return BACKENDS[BY_DEVICE[device.type]]


def check_backend(name: str | None, use_triton: bool | None) -> BackendName | None:
    """The backend that the two arguments ask for together; None leaves it to the device.

    `use_triton=True` is `backend="triton"`; `use_triton=False` is the compiled backend, or whichever of the
    others `backend` names.

    Raises: ValueError for an unknown name or two arguments that contradict one another.
    """
    names = get_args(BackendName)
    if name is not None and name not in names:
        raise ValueError(f"backend is {name!r}; expected one of {', '.join(map(repr, names))} or None")
    if use_triton is None:
        return cast("BackendName | None", name)
    if name is not None and (name == "triton") != use_triton:
        raise ValueError(f"backend={name!r} and use_triton={use_triton} contradict: give one of them")
    if use_triton:
        return "triton"
    return cast("BackendName", name or "compiled")
