"""Every option of the loss has the gradients of finite differences, for every parameter of the head."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.func import functional_call

from semicrf_nn import SemiMarkovCRFHead

LENGTHS = torch.tensor([7, 4])
LABELS = torch.tensor([[0, 0, 1, 1, 1, 2, 2], [1, 2, 2, 0, -100, -100, -100]])
OPTIONS = {
    "mean": {},
    "token": {"reduction": "token"},
    "each sequence": {"reduction": "none"},
    "labels": {"supervision": "labels"},
    "sequence weights": {"sequence_weight": [0.3, 2.0]},
    "smoothed labels": {"label_smoothing": 0.2},
    "smoothed, weighted, by token": {
        "label_smoothing": 0.2,
        "sequence_weight": [0.3, 2.0],
        "reduction": "token",
    },
    "class weights": {"class_weight": [1.0, 0.5, 3.0]},
    "position weights": {"position_weight": torch.linspace(0.1, 2.0, 14).reshape(2, 7)},
    "both, by token": {
        "class_weight": [1.0, 0.0, 3.0],
        "position_weight": torch.linspace(0.1, 2.0, 14).reshape(2, 7),
        "reduction": "token",
    },
    "class weights, smoothed": {"class_weight": [1.0, 0.5, 3.0], "label_smoothing": 0.2},
    "cut off at both ends": {"left_censored": True, "right_censored": True},
}


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_the_gradients_of_the_loss_are_those_of_finite_differences(options, backend):
    torch.manual_seed(0)
    head = SemiMarkovCRFHead(3, 3, hidden_dim=2, backend=backend).double()
    hidden = torch.randn(2, 7, 2, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in head.named_parameters()]
    leaves = [torch.randn_like(parameter).requires_grad_() for parameter in head.parameters()]

    def loss(hidden, *parameters):
        named = dict(zip(names, parameters, strict=True))
        return functional_call(Loss(head, options), {f"head.{n}": p for n, p in named.items()}, (hidden,))

    assert gradcheck(loss, (hidden, *leaves))


class Loss(torch.nn.Module):
    """What `functional_call` can call."""

    def __init__(self, head, options):
        super().__init__()
        self.head, self.options = head, options

    def forward(self, hidden):
        return self.head.compute_loss(hidden, LENGTHS, LABELS, **self.options)
