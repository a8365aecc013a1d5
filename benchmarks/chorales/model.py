"""A small encoder that hears every key alike, and the semi-Markov CRF head on top of it.

Transposing the music transposes the chords. So the encoder looks at the notes from each of the twelve roots
with the same weights, and the head's scores know intervals between roots only: 17 chorales teach as much as
they would in all twelve keys.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from semicrf_nn import Segment, SemiMarkovCRFHead
from semicrf_spec import labels_to_segments

from .data import Chorale
from .features import NUM_METRE_FEATURES, NUM_NOTE_FEATURES, metre_features, note_features
from .labels import NUM_LABELS, QUALITIES, ROOTS
from .transposition import tie


class Encoder(nn.Module):
    """Emissions, `(B, T, C)` nats, from notes `(B, 4, 12, T)` and metre `(B, 7, 1, T)`."""

    def __init__(self, width: int, kernel: int, dropout: float, deafness: float) -> None:
        super().__init__()
        self.notes = nn.Conv2d(NUM_NOTE_FEATURES, width, (len(ROOTS), 1))
        self.metre = nn.Conv2d(NUM_METRE_FEATURES, width, 1, bias=False)
        self.context = nn.Conv2d(width, width, (1, kernel), padding=(0, kernel // 2))
        self.qualities = nn.Conv2d(width, len(QUALITIES), 1)
        self.deafen = nn.Dropout(deafness)
        self.dropout = nn.Dropout(dropout)

    def forward(self, notes: Tensor, metre: Tensor) -> Tensor:
        circle = torch.cat([notes, notes[:, :, :-1]], 2)  # of pitch classes: 12 windows, one for each root
        x = (self.notes(self.deafen(circle)) + self.metre(metre)).relu()  # (B, width, 12, T)
        x = x + self.context(self.dropout(x)).relu()
        scores: Tensor = self.qualities(self.dropout(x))  # (B, Q, 12, T)
        return scores.permute(0, 3, 2, 1).flatten(2)


class ChordModel(nn.Module):
    """Encoder and head.

    Args:
        max_duration: K in positions. With K = 1 the head is a linear chain: every position is a segment.
        width: channels of the encoder.
        kernel: positions that it sees at once, an odd number.
        dropout: share of what it has understood that is left out in training.
        deafness: share of what it hears that is left out in training.
    """

    def __init__(
        self,
        max_duration: int,
        width: int = 24,
        kernel: int = 9,
        dropout: float = 0.3,
        deafness: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(width, kernel, dropout, deafness)
        self.head = tie(SemiMarkovCRFHead(NUM_LABELS, max_duration))

    def loss(self, chorales: Sequence[Chorale]) -> Tensor:
        """Negative log-likelihood of the analyses, nats per position."""
        emissions, lengths = self._encode(chorales)
        segments = [self._segments(chorale) for chorale in chorales]
        return self.head.compute_loss(emissions, lengths, segments, reduction="sum") / lengths.sum()

    @torch.no_grad()
    def decode(self, chorale: Chorale) -> list[Segment]:
        """The best segmentation, equal neighbours merged."""
        [labels] = self.head.decode(*self._encode([chorale])).labels.tolist()
        return labels_to_segments(labels)

    @torch.no_grad()
    def boundaries(self, chorale: Chorale) -> list[float]:
        """`(T,)` the probability that a segment begins at each position."""
        [marginals] = self.head.compute_boundary_marginals(*self._encode([chorale]))
        return [float(probability) for probability in marginals]

    def _encode(self, chorales: Sequence[Chorale]) -> tuple[Tensor, Tensor]:
        notes = pad_sequence([note_features(chorale) for chorale in chorales])  # (T, B, 4, 12)
        metre = pad_sequence([metre_features(chorale) for chorale in chorales])  # (T, B, 7)
        emissions: Tensor = self.encoder(notes.permute(1, 2, 3, 0), metre.permute(1, 2, 0).unsqueeze(2))
        return emissions, torch.tensor([chorale.length for chorale in chorales])

    def _segments(self, chorale: Chorale) -> list[Segment]:
        if self.head.max_duration == 1:
            return [Segment(at, at + 1, label) for at, label in enumerate(chorale.labels.tolist())]
        return chorale.segments
