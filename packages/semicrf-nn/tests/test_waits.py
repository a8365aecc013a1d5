"""How often a training step waits for its device, on a pretended one that counts what is read from it."""

import pytest
import torch
from torch.distributions import Distribution
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from semicrf_nn import CallableDurations, Segmentation, SemiCRF, SemiMarkovCRFHead
from semicrf_nn.backends import BACKENDS, BY_DEVICE
from semicrf_spec import operators

FAR = torch.device("lazy")
"""A device that PyTorch knows by name and has no kernels for."""

READS = {
    f"aten::{name}"
    for name in ("_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "masked_select", "unique")
}
"""What answers with numbers or with shapes that only the device knows."""

CHECKS = {
    "semicrf::check_segmentation": operators.check_segmentation,
    "semicrf::check_labels": operators.check_labels,
}
"""Operators made of others on every device, which are counted too."""


class There(torch.Tensor):
    """A tensor on the pretended device: its numbers lie on the CPU, out of reach but for `Device`."""

    @staticmethod
    def __new__(cls, here):
        return torch.Tensor._make_wrapper_subclass(cls, here.shape, dtype=here.dtype, device=FAR)

    def __init__(self, here):
        self.here = here

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise AssertionError(f"{function} reads from the device where nothing counts it")

    def tolist(self):
        return self.to("cpu").tolist()

    def numpy(self, *, force=False):
        return self.to("cpu").numpy(force=force)


class Device(TorchDispatchMode):
    """Computes on the CPU what is asked of the pretended device, and counts what crosses over."""

    def __init__(self):
        super().__init__()
        self.reads, self.copies, self.launches = [], [], []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name
        if name in CHECKS:
            with self:
                return CHECKS[name](*args)
        if name.startswith("semicrf::"):
            self.launches.append(len(self.reads))
        given = []

        def here(x):
            if isinstance(x, torch.Tensor):
                given.append(x)
            return x.here if isinstance(x, There) else x

        arguments, options = tree_map(here, (args, dict(kwargs or {})))
        target = options.get("device")
        if target == FAR:
            options["device"] = torch.device("cpu")
        far = any(isinstance(x, There) for x in given)
        fetched = far and target is not None and target != FAR
        if far and (fetched or name in READS):
            self.reads.append(name)
        if target == FAR and given and not far:
            self.copies.append(name)
        found = function(*arguments, **options)
        if fetched or not (far or target == FAR):
            return found
        return tree_map(lambda x: There(x) if isinstance(x, torch.Tensor) else x, found)


@pytest.fixture
def device(monkeypatch):
    """The pretended device, served by the operators, as GPUs are."""
    monkeypatch.setitem(BACKENDS, "far", operators)
    monkeypatch.setitem(BY_DEVICE, FAR.type, "far")
    with Device() as found:
        yield found


HIDDEN = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(1))
LENGTHS = torch.tensor([9, 6])
LABELS = torch.tensor([[0, 0, 1, 1, 1, 2, 2, 0, 0], [1, 1, 2, 0, 0, 0, -100, -100, -100]])
RIGHT = torch.tensor([True, False])


def step(place, validate=True, duration=None, **options):
    """A loss and a gradient of a training step with everything there."""
    torch.manual_seed(0)
    head = SemiMarkovCRFHead(3, 5, hidden_dim=4, duration=duration, validate_args=validate).to(place)
    given = [x.to(place) for x in (HIDDEN, LENGTHS, LABELS)]
    options = {n: x.to(place) if isinstance(x, torch.Tensor) else x for n, x in options.items()}
    crossings = []
    if isinstance(place, torch.device):
        mode = torch.utils._python_dispatch._get_current_dispatch_mode()
        mode.reads.clear()
        mode.copies.clear()
        crossings = [mode.reads, mode.copies]
    loss = head.compute_loss(*given, **options)
    loss.sum().backward()
    crossed = [list(crossing) for crossing in crossings]
    return [x.detach().to("cpu") for x in (loss, head.transition.grad)], crossed


EVERY_OPTION = pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, 3),
        ({"supervision": "labels"}, 3),
        ({"reduction": "none"}, 2),
        ({"reduction": "token", "label_smoothing": 0.1}, 3),
        ({"sequence_weight": torch.tensor([1.0, 2.0])}, 4),
        ({"sequence_weight": [1.0, 2.0]}, 3),
        ({"right_censored": RIGHT, "left_censored": True}, 3),
        ({"right_censored": True, "supervision": "labels"}, 3),
        ({"duration": lambda: CallableDurations(3, 5, lambda d: -d)}, 4),
    ],
    ids=str,
)


def arguments(options):
    return {name: x() if callable(x) else x for name, x in options.items()}


@EVERY_OPTION
def test_a_training_step_with_validation_off_never_reads_a_value_back(device, options, most):
    _, (reads, copies) = step(FAR, validate=False, **arguments(options))
    assert reads == []
    assert len(copies) == isinstance(options.get("sequence_weight"), list)


@EVERY_OPTION
def test_a_training_step_with_validation_on_reads_each_of_its_checks_once(device, options, most):
    found, (reads, copies) = step(FAR, **arguments(options))
    assert len(reads) == most
    assert len(copies) == isinstance(options.get("sequence_weight"), list)
    for far, near in zip(found, step("cpu", **arguments(options))[0], strict=True):
        assert torch.equal(far, near)


@pytest.mark.parametrize(("supervision", "expected"), [("segments", [3]), ("labels", [2, 3])])
def test_everything_is_checked_before_the_scan_over_everything_is_launched(device, supervision, expected):
    """How often the device was waited for before each scan; of labels one says whether they are possible."""
    step(FAR, supervision=supervision)
    assert device.launches == expected


def test_what_tests_can_see_there_is_what_is_read(device):
    there = torch.arange(3, device=FAR)
    assert device.reads == []
    assert there.tolist() == [0, 1, 2]
    assert bool((there > 1).any())
    assert int(there[2]) == 2
    assert len(there.nonzero()) == 2
    assert len(device.reads) == 4
    torch.as_tensor(LENGTHS, device=FAR)
    assert len(device.copies) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", ["emissions", "transition", "duration", "end"])
def test_what_is_read_together_is_named_as_if_read_apart(device, name, value, dtype):
    terms = {
        "emissions": torch.zeros(2, 3, 2),
        "transition": torch.zeros(2, 2),
        "duration": torch.zeros(2, 2),
        "end": torch.zeros(2),
    }
    terms[name] = terms[name].to(dtype)
    terms[name].flatten()[-1] = value
    last = ", ".join(str(n - 1) for n in terms[name].shape)
    there = {n: x.to(FAR) for n, x in terms.items()}
    device.reads.clear()
    with pytest.raises(ValueError, match=rf"^{name}\[{last}\] is {value}"):
        SemiCRF(**there, lengths=torch.tensor([3, 3]).to(FAR))
    with pytest.raises(ValueError, match=r"^lengths\[1\] is 4"):
        SemiCRF(**there, lengths=torch.tensor([3, 4]).to(FAR))


def unsound():
    """Gold whose label changes inside a segment."""
    labels = torch.tensor([[0, 0, 1, 1, 1, 2, 2, 0, 0], [1, 1, 2, 0, 0, 0, -1, -1, -1]])
    durations = torch.tensor([[3, 0, 0, 2, 0, 2, 0, 2, 0], [2, 0, 1, 3, 0, 0, 0, 0, 0]])
    return Segmentation(labels, durations, LENGTHS)


# PyTorch's own compiler still uses what PyTorch deprecates
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("backend", [None, "aot_eager"])
def test_heads_validate_or_do_not_each_by_itself_and_compiled_graphs_hold_it(backend):
    torch._dynamo.reset()
    strict, lenient = (SemiMarkovCRFHead(3, 5, hidden_dim=4, validate_args=v) for v in (True, False))

    def loss(head, gold):
        return head.compute_loss(HIDDEN, LENGTHS, gold)

    def both(gold, other):
        return loss(lenient, gold) + loss(strict, other)

    sound = Segmentation.from_labels(LABELS, LENGTHS)
    function = both if backend is None else torch.compile(both, backend=backend, fullgraph=True)
    assert function(unsound(), sound).isfinite()
    with pytest.raises(ValueError, match=r"^sequence 0: the label changes inside a segment"):
        function(unsound(), unsound())


def test_a_method_that_raises_leaves_validation_as_it_was():
    lenient = SemiMarkovCRFHead(3, 5, hidden_dim=4, validate_args=False)
    with pytest.raises(ValueError, match="supervision is"):
        lenient.compute_loss(HIDDEN, LENGTHS, LABELS, supervision="no")
    assert operators.validating()


def test_torch_compile_which_tells_distributions_to_validate_nothing_does_not_tell_us(monkeypatch):
    monkeypatch.setattr(Distribution, "_validate_args", False)
    terms = torch.full((1, 2, 2), torch.nan), torch.zeros(2, 2), torch.zeros(2, 2)
    with pytest.raises(ValueError, match=r"^emissions\[0, 0, 0\] is nan"):
        SemiCRF(*terms)
    SemiCRF(*terms, validate_args=False)
