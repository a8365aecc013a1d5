"""Training one model, and cross-validation over chorales that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from semicrf_spec import Segment

from . import metrics, template
from .data import Chorale
from .metrics import Counts
from .model import ChordModel

SEMI_CRF = "semi-CRF"
LINEAR_CHAIN = "K = 1, same encoder"
TEMPLATE = "triad template"
PLAIN_TEMPLATE = "plain triad template"
METHODS = (SEMI_CRF, LINEAR_CHAIN, TEMPLATE, PLAIN_TEMPLATE)


@dataclass(frozen=True)
class Settings:
    """What is the same for both heads."""

    max_duration: int = 20
    epochs: int = 40
    batch: int = 4
    learning_rate: float = 1e-2
    weight_decay: float = 1e-2
    dropout: float = 0.3
    deafness: float = 0.1
    width: int = 24
    kernel: int = 9


@dataclass(frozen=True)
class Split:
    """One fold of the cross-validation."""

    held_out: list[Chorale]
    counts: dict[str, Counts]
    """By method, over the held-out chorales."""
    decoded: dict[int, list[Segment]]
    """The semi-CRF's segments, by the number of the chorale."""
    boundaries: dict[int, list[float]]
    """The semi-CRF's posterior of a boundary at each position, by the number of the chorale."""


def train(
    chorales: Sequence[Chorale],
    max_duration: int,
    settings: Settings,
    seed: int,
    progress: Callable[[], object] = lambda: None,
) -> ChordModel:
    """A model trained from a seed; `progress` hears of every epoch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ChordModel(max_duration, settings.width, settings.kernel, settings.dropout, settings.deafness)
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=settings.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            settings.learning_rate,
            epochs=settings.epochs,
            steps_per_epoch=-(-len(chorales) // settings.batch),
            pct_start=0.2,
        )
        for _ in range(settings.epochs):
            shuffled = [chorales[i] for i in torch.randperm(len(chorales)).tolist()]
            for start in range(0, len(shuffled), settings.batch):
                optimizer.zero_grad()
                torch.autograd.backward(model.loss(shuffled[start : start + settings.batch]))
                optimizer.step()
                schedule.step()
            progress()
    return model.eval()


def cross_validate(
    chorales: Sequence[Chorale],
    folds: int,
    settings: Settings,
    seed: int,
    progress: Callable[[], object] = lambda: None,
) -> Iterator[Split]:
    """Every method on every fold; each chorale is held out exactly once."""
    order = np.random.default_rng(seed).permutation(len(chorales))
    for fold in np.array_split(order, folds):
        held_out = [chorales[i] for i in sorted(fold)]
        seen = [chorale for i, chorale in enumerate(chorales) if i not in fold]
        semi = train(seen, settings.max_duration, settings, seed, progress)
        chain = train(seen, 1, settings, seed, progress)
        decoders: dict[str, Callable[[Chorale], list[Segment]]] = {
            SEMI_CRF: semi.decode,
            LINEAR_CHAIN: chain.decode,
            TEMPLATE: template.decode,
            PLAIN_TEMPLATE: partial(template.decode, weigh=False),
        }
        yield Split(
            held_out,
            counts={method: _counts(held_out, decode) for method, decode in decoders.items()},
            decoded={chorale.number: semi.decode(chorale) for chorale in held_out},
            boundaries={chorale.number: semi.boundaries(chorale) for chorale in held_out},
        )


def _counts(chorales: Sequence[Chorale], decode: Callable[[Chorale], list[Segment]]) -> Counts:
    return metrics.total(metrics.count(chorale.segments, decode(chorale)) for chorale in chorales)
