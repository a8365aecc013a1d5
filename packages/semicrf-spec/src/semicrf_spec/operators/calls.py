"""The one call signature: functions of potentials, called with their terms."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor

from semicrf_spec.potentials import Potentials

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class OverTerms(Protocol[R_co]):
    """A function of the terms of a score; the terms are described at `Potentials`."""

    @property
    def of(self) -> Callable[..., R_co]:
        """The same function of `Potentials` and its options."""

    def __call__(
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
        **options: Any,
    ) -> R_co:
        """Build `Potentials`, which checks their shapes, and answer; `options` are the function's own."""


def check_tensors(potentials: Potentials[Any]) -> None:
    """Raise TypeError unless the terms are dense tensors."""
    emissions = potentials.emissions
    if not isinstance(emissions, Tensor):  # then no other term is, as devices agree
        raise TypeError(f"emissions is a {type(emissions).__name__}; expected a torch.Tensor")
    for name, term in potentials.items():
        if term.layout != torch.strided:
            raise TypeError(f"{name} has layout {term.layout}; expected a dense tensor, as .to_dense() gives")


def over_terms(function: Callable[..., R]) -> OverTerms[R]:
    """The function, called with the terms instead of with `Potentials`; its options are given by name."""

    def call(
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
        **options: Any,
    ) -> R:
        potentials = Potentials(emissions, transition, duration, start, end, begin, finish, lengths, cuts)
        return of(potentials, **options)

    def of(potentials: Potentials[Tensor], **options: Any) -> R:
        check_tensors(potentials)
        return function(potentials, **options)

    call.__doc__, call.__name__ = function.__doc__, function.__name__
    call.__qualname__, call.__module__ = function.__qualname__, function.__module__
    call.__signature__ = _signature(call, function)  # type: ignore[attr-defined]  # inspect reads it
    return _with_of(call, of)


def _with_of(call: Callable[..., R], of: Callable[..., R]) -> OverTerms[R]:
    """The call, and the same of `Potentials` beside it, which is known by its name."""
    of.__name__, of.__qualname__, of.__module__ = "of", f"{call.__qualname__}.of", call.__module__
    of.__doc__ = f"`{call.__name__}` of `Potentials`, and of its options by name."
    call.of = of  # type: ignore[attr-defined]  # what makes it `OverTerms`
    return cast(OverTerms[R], call)


def _signature(call: Callable[..., R], function: Callable[..., R]) -> Signature:
    """The terms, and what the function takes beside potentials."""
    *terms, _ = signature(call).parameters.values()
    _, *options = signature(function).parameters.values()
    return Signature([*terms, *(option.replace(kind=Parameter.KEYWORD_ONLY) for option in options)])


def on_device(function: OverTerms[R], device: str, backend: str, remedy: str) -> OverTerms[R]:
    """The function, for tensors on one kind of device only.

    Raises: ValueError with the remedy when `emissions` are elsewhere.
    """

    def check(emissions: Any) -> None:
        if isinstance(emissions, Tensor) and emissions.device.type != device:
            raise ValueError(
                f"backend='{backend}' serves {device} tensors, and emissions are on "
                f"{emissions.device}: {remedy}"
            )

    @wraps(function)
    def call(emissions: Any, *args: Tensor, **kwargs: Any) -> R:
        check(emissions)
        return function(emissions, *args, **kwargs)

    def of(potentials: Potentials[Tensor], **options: Any) -> R:
        check(potentials.emissions)
        return function.of(potentials, **options)

    return _with_of(call, of)
