import pytest
import torch

from semicrf_nn import SemiMarkovCRFHead
from semicrf_spec.testing import FLOAT32_SUM, FLOAT64_RELATIVE, assert_close

# PyTorch's own compiler still uses what PyTorch deprecates
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

HIDDEN = torch.randn(2, 12, 4, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([12, 7])
LABELS = torch.arange(12).div(3, rounding_mode="floor").remainder(3).expand(2, -1).contiguous()


@pytest.fixture
def head():
    torch.manual_seed(0)
    torch._dynamo.reset()
    return SemiMarkovCRFHead(3, 5, hidden_dim=4)


@pytest.mark.slow
@pytest.mark.parametrize("supervision", ["segments", "labels"])
def test_head_and_loss_compile_into_one_graph_with_the_same_answers(head, supervision):
    def loss(hidden, lengths, labels):
        return head.compute_loss(hidden, lengths, labels, supervision=supervision)

    compiled = torch.compile(loss, fullgraph=True)
    answers = []
    for function in (loss, compiled):
        head.zero_grad()
        value = function(HIDDEN, LENGTHS, LABELS)
        value.backward()
        answers.append((value.detach(), [p.grad.clone() for p in head.parameters()]))
    assert_close(answers[1][0], answers[0][0], FLOAT64_RELATIVE)
    for compiled_grad, grad in zip(answers[1][1], answers[0][1], strict=True):
        assert_close(compiled_grad, grad, FLOAT32_SUM)


@pytest.mark.slow
def test_bad_values_raise_the_same_errors_inside_a_compiled_graph(head):
    compiled = torch.compile(head.compute_loss, fullgraph=True)
    assert compiled(HIDDEN, LENGTHS, LABELS).isfinite()
    with pytest.raises(ValueError, match=r"emissions\[0, 0, 0\] is nan"):
        compiled(HIDDEN * torch.nan, LENGTHS, LABELS)
    with pytest.raises(ValueError, match=r"sequence 0, segment 0 \(0, 12, 0\) lasts 12"):
        compiled(HIDDEN, LENGTHS, LABELS * 0)
    with pytest.raises(ValueError, match=r"lengths\[1\] is 13"):
        compiled(HIDDEN, torch.tensor([12, 13]), LABELS)


@pytest.mark.slow
def test_decoding_compiles_into_one_graph(head):
    compiled = torch.compile(lambda hidden, lengths: head.decode(hidden, lengths).labels, fullgraph=True)
    assert torch.equal(compiled(HIDDEN, LENGTHS), head.decode(HIDDEN, LENGTHS).labels)


@pytest.mark.slow
def test_the_head_exports(head):
    class Scores(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = head

        def forward(self, hidden, lengths):
            return self.head.distribution(hidden, lengths).log_partition

    exported = torch.export.export(Scores(), (HIDDEN, LENGTHS))
    expected = head.distribution(HIDDEN, LENGTHS).log_partition.detach()
    assert_close(exported.module()(HIDDEN, LENGTHS).detach(), expected, FLOAT64_RELATIVE)
