"""Each implementation against the one before it, on the same named cases and bounds.

The GPU kernels have a session of their own, `nox -s kernels`, which holds them to eager on these cases.
"""

import pytest

from semicrf_reference import compiled, eager
from semicrf_spec.testing import MAX_DURATIONS, case, case_names, edge_case_names, random_potentials
from tests_integration.parity.chain import assert_agree, enumeration, head_distribution

pytestmark = pytest.mark.parity

LINKS = {
    "eager-enumeration": (eager, enumeration()),
    "compiled-eager": (compiled, eager),
    "nn-compiled": (head_distribution(), compiled),
}


@pytest.fixture(params=LINKS.values(), ids=LINKS.keys())
def link(request):
    return request.param


@pytest.mark.parametrize("max_duration", MAX_DURATIONS)
@pytest.mark.parametrize("name", case_names())
def test_each_link_holds_on_every_named_case(link, name, max_duration):
    assert_agree(*link, case(name, max_duration))


@pytest.mark.parametrize("name", edge_case_names())
def test_the_oracle_alone_holds_where_transitions_depend_on_durations(name):
    assert_agree(*LINKS["eager-enumeration"], case(name))


@pytest.mark.parametrize(("batch", "time", "max_duration", "classes"), [(3, 60, 12, 5), (2, 40, 70, 3)])
def test_the_links_past_enumeration_hold_at_larger_sizes(link, batch, time, max_duration, classes):
    if link is LINKS["eager-enumeration"]:
        link = (compiled, eager)
    lengths = [time, *range(time - 7, time - 6 - batch, -1)][:batch]
    given = random_potentials(batch, time, max_duration, classes, seed=time, scale=3.0, lengths=lengths)
    assert_agree(*link, given)
