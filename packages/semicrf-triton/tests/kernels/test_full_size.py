"""On a GPU: sizes that only a GPU can take, against the compiled float64 scan; and how a launch behaves."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from semicrf_reference import compiled
from semicrf_reference.compiled import kernels as cpu_kernels
from semicrf_spec.operators.contracts import statistics_shapes
from semicrf_spec.testing import (
    FLOAT32_LOG_PARTITION,
    FLOAT32_POSTERIOR,
    assert_close,
    random_potentials,
    with_segment_scores,
)
from semicrf_triton import operators
from semicrf_triton.kernels.covariances import (
    boundary_covariance_kernel,
    drift_kernel,
    duration_covariance_kernel,
    transition_covariance_kernel,
)
from semicrf_triton.kernels.means import means_kernel
from semicrf_triton.kernels.posteriors import boundary_kernel, cover_kernel, duration_kernel
from semicrf_triton.kernels.ranking import rank_kernel
from semicrf_triton.kernels.sample import sample_kernel
from semicrf_triton.kernels.scan import scan_kernel
from semicrf_triton.kernels.viterbi import viterbi_kernel

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SIZES = [
    # B, T, K, C
    (32, 500, 30, 39),
    (16, 1000, 100, 24),
    (2, 10_000, 200, 6),
    (1, 100_000, 300, 24),
    (1, 100_000, 1, 24),
    (1, 1_000_000, 20, 6),
    (2, 2_000, 3000, 100),
    # Triton compiles numbers divisible by 16 anew
    (2, 200, 20, 16),
    (2, 200, 20, 32),
    (2, 120, 20, 64),
    (2, 80, 20, 128),
]
KINDS = ("shared", "transitions by position", "whole segments")
"""What terms say of transitions and durations."""
LARGE = (3000, 30_000, 5, 24)
"""More than 2^31 emissions, of which the last sequences have the last."""


def uniforms_for(emissions, n=2):
    """Numbers to draw n samples with."""
    generator = torch.Generator(emissions.device).manual_seed(3)
    shape = (n, *emissions.shape[:2], 2)
    return torch.rand(shape, dtype=torch.float64, device=emissions.device, generator=generator)


def values_for(gpu):
    """A value of every count."""
    generator = torch.Generator("cuda").manual_seed(4)
    shapes = statistics_shapes(gpu.terms(), True)
    return tuple(torch.randn(shape, device="cuda", generator=generator) for shape in shapes)


def moved(drawn):
    """The same float32 terms on both devices."""
    given = drawn.map(torch.from_numpy)
    cpu = given.map(lambda term: term.float() if term.is_floating_point() else term)
    return cpu, cpu.map(torch.Tensor.cuda)


def on_gpu(size, switching=0.0, **options):
    """Random terms on both devices; where switching costs much, segments last long."""
    drawn = random_potentials(*size, seed=1, **options)
    return moved(replace(drawn, transition=drawn.transition + switching))


def of_kind(kind):
    """Terms of a kind, of several warps and tiles, in which segments last across tiles."""
    batch, time, _, classes = size = (8, 300, 30, 24)
    drawn = random_potentials(*size, seed=5, scale=0.2, lengths=[300, 299, 290, 257, 256, 64, 33, 1])
    if kind == "whole segments":
        drawn = with_segment_scores(drawn, seed=6)
    elif kind == "transitions by position":
        transition = np.random.default_rng(7).standard_normal((batch, time, classes, classes))
        drawn = replace(drawn, transition=transition)
    return moved(replace(drawn, transition=drawn.transition - 5.0))


def answers(gpu):
    """What every operator says, by its name; each is asked anew."""
    terms, values, uniforms = gpu.terms(), values_for(gpu), uniforms_for(gpu.emissions)
    return {
        "log_partition": lambda: (operators.log_partition(*terms),),
        "posteriors": lambda: operators.posteriors(*terms, True),
        "covariances": lambda: operators.covariances(*terms, *values, True),
        "viterbi": lambda: operators.viterbi(*terms),
        "top_k": lambda: operators.top_k(*terms, 3),
        "sample": lambda: operators.sample(*terms, uniforms),
    }


def assert_same_bits(found, expected, name):
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other), name


LASTING = [(size, -20.0) for size in SIZES if size[2] >= 100 and size[1] <= 10_000]


def assert_answered_as_by_the_compiled_scan(cpu, gpu):
    named = dict(cpu.items())
    exact = compiled.posteriors(**named)
    best = compiled.viterbi(**named)
    found = {name: answer() for name, answer in answers(gpu).items()}
    (total,) = found["log_partition"]
    assert_close(total.cpu(), compiled.log_partition(**named), FLOAT32_LOG_PARTITION)
    total, *counts = found["posteriors"]
    assert_close(total.cpu(), compiled.log_partition(**named), FLOAT32_LOG_PARTITION)
    wanted = (exact.position, exact.begins, exact.ends, exact.transitions, exact.durations)
    for count, want in zip(counts, wanted, strict=False):
        assert_close(count.cpu(), want, FLOAT32_POSTERIOR)
    values = (value.cpu().double() for value in values_for(gpu))
    wanted = cpu_kernels.covariances(*cpu.terms(), *values, True)
    for count, want in zip(found["covariances"], wanted, strict=True):
        assert_close(count.cpu(), want, FLOAT32_POSTERIOR, scale=want.abs().max().item())
    scores, labels, durations = found["viterbi"]
    assert_close(scores.cpu(), best.scores, FLOAT32_LOG_PARTITION)
    assert int(durations.max()) <= cpu.max_duration
    assert bool(((labels >= 0).sum(1).cpu() == best.lengths).all())
    scores, labels, durations = found["top_k"]
    assert_close(scores.cpu(), compiled.top_k(**named, k=3).scores, FLOAT32_LOG_PARTITION)
    assert bool((scores[1:] <= scores[:-1]).all())
    assert bool((durations.sum(-1).cpu() == best.lengths).all())
    labels, durations = found["sample"]
    assert int(durations.max()) <= cpu.max_duration
    assert bool((durations.sum(-1).cpu() == best.lengths).all())
    assert bool(((labels >= 0).sum(-1).cpu() == best.lengths).all())
    return exact


@pytest.mark.parametrize(("size", "switching"), [*((size, 0.0) for size in SIZES), *LASTING], ids=str)
def test_full_sizes_are_answered_as_by_the_compiled_scan(size, switching):
    lengths = [size[1], *range(size[1] - 1, size[1] - size[0], -1)]
    cpu, gpu = on_gpu(size, switching, lengths=lengths, scale=0.2 if switching else 1.0)
    exact = assert_answered_as_by_the_compiled_scan(cpu, gpu)
    if switching:
        assert exact.durations[:, 16:].sum() > 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_terms_is_answered_as_by_the_compiled_scan(kind):
    exact = assert_answered_as_by_the_compiled_scan(*of_kind(kind))
    assert exact.durations[..., 16:, :].sum() > 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_twenty_launches_of_many_warps_give_the_same_bits(kind):
    _, gpu = of_kind(kind)
    for name, answer in answers(gpu).items():
        first, *others = (answer() for _ in range(20))  # beside one another, as nothing waits for them
        for other in others:
            assert_same_bits(other, first, name)


def test_a_sequence_of_a_batch_beyond_int32_gets_the_same_bits_as_alone():
    generator = torch.Generator("cuda").manual_seed(8)
    batch, time, max_duration, classes = LARGE

    def normal(*shape):
        return torch.randn(shape, device="cuda", generator=generator)

    def needs(gigabytes):
        torch.cuda.empty_cache()
        if torch.cuda.mem_get_info()[0] < gigabytes * 1e9:
            pytest.skip(f"needs {gigabytes} GB that are free")

    needs(40)
    emissions = normal(batch, time, classes)
    others = (normal(classes, classes), normal(max_duration, classes), *(None,) * 6)
    some = (0, batch // 2, batch - 1)
    alone = torch.stack([emissions[b] for b in some])
    for gigabytes, operator, options in (
        (20, operators.log_partition, ()),
        (30, operators.viterbi, ()),
        (80, operators.posteriors, (False,)),
    ):
        needs(gigabytes)
        expected = operator(alone, *others, *options)
        found = operator(emissions, *others, *options)
        if torch.is_tensor(found):
            found, expected = (found,), (expected,)
        chosen = [torch.stack([count[b] for b in some]) for count in found]
        assert_same_bits(chosen, expected, operator.__name__)
        del found


def test_samples_are_as_frequent_as_posteriors_say():
    cpu, gpu = on_gpu((1, 500, 20, 5))
    n = 4000
    labels, durations = (
        found.cpu() for found in operators.sample(*gpu.terms(), uniforms_for(gpu.emissions, n))
    )
    exact = compiled.posteriors(**dict(cpu.items()))
    here = torch.stack([labels == c for c in range(5)], -1)
    for p, frequency in ((exact.position, here), (exact.begins, here & (durations > 0)[..., None])):
        deviation = (frequency.double().mean(0) - p) / (p * (1 - p) / n).sqrt().clamp(min=1 / n)
        assert deviation.square().mean() < 1.3  # of independent draws it is 1
        assert deviation.abs().max() < 6.0


def test_nothing_is_compiled_again_when_sizes_change():
    kernels = (
        scan_kernel, boundary_kernel, cover_kernel, duration_kernel, viterbi_kernel, rank_kernel,
        sample_kernel, means_kernel, boundary_covariance_kernel, drift_kernel, transition_covariance_kernel,
        duration_covariance_kernel,
    )  # fmt: skip

    def compiled_so_far():
        return [len(kernel.device_caches[torch.cuda.current_device()][0]) for kernel in kernels]

    def run(size):
        _, gpu = on_gpu(size, lengths=[size[1]] * size[0])
        operators.log_partition(*gpu.terms())
        operators.posteriors(*gpu.terms(), False)
        operators.covariances(*gpu.terms(), *values_for(gpu), False)
        operators.viterbi(*gpu.terms())
        operators.top_k(*gpu.terms(), 5 + size[0] % 4)
        operators.sample(*gpu.terms(), uniforms_for(gpu.emissions, size[0]))

    run((2, 64, 16, 6))
    before = compiled_so_far()
    for size in ((2, 65, 16, 6), (3, 48, 1, 6), (1, 1, 2, 6), (5, 129, 300, 6), (2, 63, 17, 6)):
        run(size)
    assert compiled_so_far() == before


@pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")  # PyTorch calls it a prototype
def test_a_launch_waits_for_nothing():
    _, gpu = on_gpu((2, 70, 9, 5), lengths=[70, 12])
    uniforms, values = uniforms_for(gpu.emissions), values_for(gpu)
    calls = [
        *(
            lambda o=o: o(*gpu.terms())
            for o in (operators.log_partition, operators.posteriors, operators.viterbi)
        ),
        lambda: operators.top_k(*gpu.terms(), 3),
        lambda: operators.covariances(*gpu.terms(), *values, True),
        lambda: operators.sample(*gpu.terms(), uniforms),
    ]
    for call in calls:
        call()
    try:
        torch.cuda.set_sync_debug_mode("error")
        for call in calls:
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_training_step_of_the_head_without_validation_never_waits_for_the_device():
    semicrf_nn = pytest.importorskip("semicrf_nn")
    head = semicrf_nn.SemiMarkovCRFHead(4, 7, hidden_dim=8, validate_args=False).cuda()
    hidden = torch.randn(3, 30, 8, device="cuda")
    labels = (torch.arange(5, device="cuda") % 4).repeat(3, 1).repeat_interleave(6, 1)
    lengths = torch.tensor([30, 12, 24], device="cuda")
    steps = [{}, {"supervision": "labels"}, {"left_censored": True, "right_censored": lengths > 20}]
    for options in steps:
        head.compute_loss(hidden, lengths, labels, **options).backward()
    try:
        torch.cuda.set_sync_debug_mode("error")
        for options in steps:
            head.compute_loss(hidden, lengths, labels, **options).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("censored", [False, True])
def test_a_training_step_of_the_head_is_captured_as_a_cuda_graph(censored):
    semicrf_nn = pytest.importorskip("semicrf_nn")
    head = semicrf_nn.SemiMarkovCRFHead(num_classes=4, max_duration=7, hidden_dim=8).cuda()
    twin = copy.deepcopy(head)
    hidden = torch.randn(3, 30, 8, device="cuda")
    labels = (torch.arange(5, device="cuda") % 4).repeat(3, 1).repeat_interleave(6, 1)
    lengths = torch.tensor([30, 12, 24], device="cuda")

    def step(model):
        model.zero_grad(set_to_none=True)
        loss = model.compute_loss(hidden, lengths, labels, left_censored=censored, right_censored=censored)
        loss.backward()
        return loss

    expected = step(twin)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(head)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(head)
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(loss, expected)
    for found, want in zip(head.parameters(), twin.parameters(), strict=True):
        assert torch.equal(found.grad, want.grad)
