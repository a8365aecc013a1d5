"""`Potentials`: what it takes, and what it says about everything else."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semicrf_spec import SHAPES, Potentials
from semicrf_spec.potentials import DTYPES
from semicrf_spec.testing import case, case_names
from semicrf_spec.testing.strategies import small_potentials

SIZES = {"B": 2, "T": 3, "C": 4, "K": 5}
LIBRARIES = {"numpy": np.asarray, "torch": torch.as_tensor}
SCORES = tuple(name for name in SHAPES if name not in DTYPES)
OTHERS = {"lengths": np.int64, "cuts": np.bool_}
NARROW = {name: shapes[0] for name, shapes in SHAPES.items()}
WIDE = {name: shapes[-1] for name, shapes in SHAPES.items()}

every_library = pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
every_score = pytest.mark.parametrize("name", SCORES)


def size(shape):
    return tuple(SIZES[letter] for letter in shape.split())


def term(name, shape):
    return np.full(size(shape), 3) if name == "lengths" else np.zeros(size(shape), OTHERS.get(name))


def build(library=np.asarray, shapes=WIDE, **changed):
    """Zeros of the given shapes, with some terms changed; None leaves a term out."""
    given = {name: term(name, shape) for name, shape in shapes.items()} | changed
    return Potentials(**{name: x if x is None else library(x) for name, x in given.items()})


def with_entry(name, index, value, shapes=WIDE):
    changed = term(name, shapes[name])
    changed[index] = value
    return {name: changed}


@every_library
@pytest.mark.parametrize(("name", "shape"), [(n, s) for n, shapes in SHAPES.items() for s in shapes])
def test_every_documented_shape_of_every_argument_is_legal(library, name, shape):
    potentials = build(library, **{name: term(name, shape)})
    potentials.check_values()
    assert tuple(getattr(potentials, name).shape) == size(shape)
    assert potentials.shape == (2, 3, 4)
    assert potentials.max_duration == 5


@pytest.mark.parametrize(
    "name", [name for name in SHAPES if name not in ("emissions", "transition", "duration")]
)
def test_every_optional_term_may_be_missing(name):
    potentials = build(**{name: None})
    potentials.check_values()
    assert name not in dict(potentials.items())
    assert potentials.terms()[list(SHAPES).index(name)] is None


WRONG_AXES = [
    (name, shape, axis)
    for name, shapes in SHAPES.items()
    for shape in shapes
    for axis in range(len(shape.split()))
    if name != "emissions"
    and not (name == "duration" and shape.split()[axis] == "K")  # they define the sizes
]


@every_library
@pytest.mark.parametrize(("name", "shape", "axis"), WRONG_AXES)
def test_a_wrong_size_on_any_axis_names_the_argument_the_expected_and_the_given_shape(
    library, name, shape, axis
):
    wrong = list(size(shape))
    wrong[axis] += 1
    dtype = OTHERS.get(name, np.float64)
    with pytest.raises(ValueError, match="has shape") as raised:
        build(library, **{name: np.zeros(wrong, dtype)})
    message = str(raised.value)
    assert message.startswith(f"{name} has shape {tuple(wrong)}; expected ")
    for legal in SHAPES[name]:
        assert f"({legal.replace(' ', ', ')})" in message
    assert "B = 2, T = 3, C = 4, K = 5" in message


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("emissions", (3, 4)),
        ("emissions", (2, 3, 4, 1)),
        ("emissions", ()),
        ("duration", (5,)),
        ("start", (1, 4)),
    ],
)
def test_a_wrong_number_of_axes_names_the_argument_the_expected_and_the_given_shape(name, shape):
    legal = SHAPES[name][0].replace(" ", ", ")
    with pytest.raises(ValueError, match=rf"^{name} has shape {re.escape(str(shape))}; expected \({legal}\)"):
        build(**{name: np.zeros(shape)})


@pytest.mark.parametrize(
    ("letter", "name", "shape"),
    [("C", "emissions", (2, 3, 0)), ("K", "duration", (0, 4)), ("K", "duration", (2, 0, 4))],
)
def test_no_class_and_no_duration_are_errors_of_their_own(letter, name, shape):
    with pytest.raises(ValueError, match=rf"^{name} has {letter} = 0; expected at least 1$"):
        build(**{name: np.zeros(shape)})


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("value", [[1.0, 2.0], 3.0, "text"], ids=["list", "float", "str"])
def test_what_is_no_array_is_named_with_its_type_and_the_legal_shapes(name, value):
    given = {n: term(n, shape) for n, shape in WIDE.items()} | {name: value}
    legal = re.escape(f"({SHAPES[name][0].replace(' ', ', ')})")
    with pytest.raises(TypeError, match=rf"^{name} is a {type(value).__name__}; expected an array.*{legal}"):
        Potentials(**given)


@pytest.mark.parametrize("name", ["emissions", "transition", "duration"])
def test_a_required_term_may_not_be_none(name):
    with pytest.raises(TypeError, match=rf"^{name} is a NoneType; expected an array"):
        Potentials(**{n: term(n, shape) for n, shape in WIDE.items()} | {name: None})


@every_library
@every_score
@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.complex128])
def test_scores_that_do_not_float_are_named_with_their_dtype(library, name, dtype):
    with pytest.raises(
        TypeError, match=rf"^{name} has dtype \S*{dtype.__name__.rstrip('_')}; expected a floating"
    ):
        build(library, **{name: term(name, WIDE[name]).astype(dtype)})


@every_library
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.bool_])
def test_lengths_that_are_no_integers_are_named_with_their_dtype(library, dtype):
    with pytest.raises(TypeError, match=r"^lengths has dtype \S+; expected an integer dtype"):
        build(library, lengths=np.ones(2, dtype))


@every_library
@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint8])
def test_cuts_that_are_no_booleans_are_named_with_their_dtype(library, dtype):
    with pytest.raises(TypeError, match=r"^cuts has dtype \S+; expected a boolean dtype: bool"):
        build(library, cuts=np.ones((2, 3), dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("lengths", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_every_floating_dtype_and_integer_lengths_are_accepted_as_they_are(dtype, lengths):
    potentials = build(torch.as_tensor, cuts=None).map(
        lambda x: x.to(dtype if x.is_floating_point() else lengths)
    )
    potentials.check_values()
    assert potentials.emissions.dtype == dtype


def test_arrays_of_two_libraries_are_told_apart():
    with pytest.raises(
        ValueError, match=r"^lengths is a ndarray on .*; expected a Tensor on cpu, where emissions"
    ):
        Potentials(torch.zeros(2, 3, 4), torch.zeros(4, 4), torch.zeros(5, 4), lengths=np.array([3, 3]))
    with pytest.raises(ValueError, match=r"^transition is a Tensor on cpu; expected a ndarray on"):
        Potentials(np.zeros((2, 3, 4)), torch.zeros(4, 4), np.zeros((5, 4)))


@pytest.mark.parametrize("name", [name for name in SHAPES if name != "emissions"])
def test_a_term_on_another_device_is_named_with_both_devices(name):
    on_cpu = {n: torch.as_tensor(term(n, shape)) for n, shape in WIDE.items()}
    with pytest.raises(ValueError, match=rf"^{name} is .* on meta; expected .* on cpu, where emissions are"):
        Potentials(**on_cpu | {name: on_cpu[name].to("meta")})


@every_library
@every_score
@pytest.mark.parametrize("shapes", [NARROW, WIDE], ids=["narrow", "wide"])
@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
@settings(max_examples=8)
@given(data=st.data())
def test_nan_and_plus_infinity_are_errors_that_name_argument_and_index(library, name, shapes, value, data):
    by_position = shapes[name].startswith("B T")
    first = int(name == "transition" and by_position)  # no transition enters position 0
    index = ()
    for axis, (letter, n) in enumerate(zip(shapes[name].split(), size(shapes[name]), strict=True)):
        fits = SIZES["T"] - index[1] if letter == "K" and by_position else n  # what does not may be anything
        index += (data.draw(st.integers(first if axis == 1 else 0, min(n, fits) - 1)),)
    potentials = build(library, shapes, **with_entry(name, index, value, shapes))
    place = ", ".join(map(str, index))
    with pytest.raises(ValueError, match="expected a finite score") as raised:
        potentials.check_values()
    assert str(raised.value).startswith(
        f"{name}[{place}] is {value}; expected a finite score or -inf, which forbids"
    )
    assert "Look for" in str(raised.value)


@every_library
@every_score
def test_of_several_bad_entries_the_first_is_named(library, name):
    changed = term(name, WIDE[name])
    changed[...] = np.nan
    first = ", ".join("1" if name == "transition" and axis == 1 else "0" for axis in range(changed.ndim))
    with pytest.raises(ValueError, match=re.escape(f"{name}[{first}] is nan")):
        build(library, **{name: changed}).check_values()


@every_library
@every_score
@pytest.mark.parametrize("shapes", [NARROW, WIDE], ids=["narrow", "wide"])
def test_minus_infinity_is_legal_in_every_term(library, name, shapes):
    build(library, shapes, **{name: np.full(size(shapes[name]), -np.inf)}).check_values()


@every_library
@pytest.mark.parametrize("name", ["emissions", "transition", "begin", "finish"])
@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_a_bad_value_counts_up_to_the_length_and_not_past_it(library, name, value):
    lengths = np.array([3, 2])
    last = with_entry(name, (1, 1), value)
    with pytest.raises(ValueError, match=rf"^{name}\[1, 1, 0"):
        build(library, **last, lengths=lengths).check_values()
    build(library, **with_entry(name, (1, 2), value), lengths=lengths).check_values()
    with pytest.raises(ValueError, match=rf"^{name}\[1, 2, 0"):
        build(library, **with_entry(name, (1, 2), value), lengths=None).check_values()


@every_library
@pytest.mark.parametrize("name", ["duration", "transition"])
@pytest.mark.parametrize(
    ("place", "left", "right"),
    [
        ((1, 1, 0), True, True),  # within
        ((1, 1, 1), False, True),  # past the end
        ((1, 0, 2), True, True),
        ((1, 2, 0), False, False),  # begins there
        ((0, 2, 1), False, True),
    ],
)
def test_what_ends_past_the_length_counts_where_segments_may_have_gone_on(library, name, place, left, right):
    bad = build(library, **with_entry(name, (*place, 0), np.nan), lengths=np.array([3, 2]))
    own, everyone = library(np.arange(2) == place[0]), library(np.ones(2, dtype=bool))
    where = rf"^{name}\[{', '.join(map(str, place))}, 0"
    for which, counts in (("right", right), ("left", left)):
        counts = counts and not (name == "transition" and place[1] == 0)
        for flags in (own, everyone, True):
            if counts:
                with pytest.raises(ValueError, match=where):
                    bad.check_values(**{which: flags})
            else:
                bad.check_values(**{which: flags})
        if place != (1, 1, 0):
            bad.check_values(**{which: ~own})
            bad.check_values()


@every_library
def test_a_transition_into_the_first_position_may_hold_anything(library):
    build(library, **with_entry("transition", (slice(None), 0), np.nan)).check_values()


@every_library
@pytest.mark.parametrize("length", [-1, 4, 2**40])
def test_a_length_outside_of_the_padded_sequence_is_named_with_its_place(library, length):
    with pytest.raises(ValueError, match=rf"^lengths\[1\] is {length}; expected 0 <= length <= T = 3"):
        build(library, lengths=np.array([3, length])).check_values()


@every_library
def test_lengths_from_nothing_to_everything_are_legal(library):
    build(library, lengths=np.array([0, 3])).check_values()


def test_lengths_are_checked_before_the_scores_they_cut_off():
    with pytest.raises(ValueError, match=r"^lengths"):
        build(lengths=np.array([3, 4]), **with_entry("emissions", (0, 0, 0), np.nan)).check_values()


@every_library
@pytest.mark.parametrize(("batch", "time"), [(0, 3), (2, 0), (0, 0)])
def test_an_empty_batch_and_an_empty_sequence_are_legal(library, batch, time):
    sizes = {**SIZES, "B": batch, "T": time}
    potentials = build(
        library,
        **{
            name: np.zeros([sizes[letter] for letter in shape.split()], OTHERS.get(name))
            for name, shape in WIDE.items()
        },
    )
    potentials.check_values()
    assert potentials.shape == (batch, time, 4)


@pytest.mark.parametrize("name", case_names())
def test_every_named_case_holds_legal_values_in_every_library(name):
    case(name).check_values()
    case(name).map(torch.as_tensor).check_values()


@every_library
@given(potentials=small_potentials())
def test_whatever_the_strategy_draws_is_legal(library, potentials):
    potentials.map(library).check_values()


def test_terms_come_in_the_order_of_the_signature():
    potentials = build(begin=None)
    assert [name for name, _ in potentials.items()] == [name for name in SHAPES if name != "begin"]
    assert len(potentials.terms()) == len(SHAPES)
    again = Potentials(*potentials.terms())
    assert all(a is b for a, b in zip(potentials.terms(), again.terms(), strict=True))


def test_map_changes_every_term_that_is_present_and_no_other():
    potentials = build(start=None)
    seen = []
    mapped = potentials.map(lambda x: (seen.append(x), x if x.dtype == np.bool_ else x + 1)[1])
    assert len(seen) == len(SHAPES) - 1
    assert mapped.start is None
    for name, x in potentials.items():
        assert np.array_equal(getattr(mapped, name), x if name == "cuts" else x + 1)


@every_library
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_as_float64_widens_every_score_exactly_and_leaves_lengths_alone(library, dtype):
    narrow = case("ragged").map(lambda x: x.astype(dtype) if x.dtype == np.float64 else x.astype(np.int32))
    wide = narrow.map(library).as_float64()
    for name, x in wide.items():
        before = getattr(narrow, name)
        assert str(x.dtype).endswith("int32" if name == "lengths" else "float64")
        assert np.array_equal(np.asarray(x), before.astype(np.float64))


def test_as_float64_widens_bfloat16():
    potentials = build(torch.as_tensor).map(lambda x: x.bfloat16() if x.is_floating_point() else x)
    assert potentials.as_float64().finish.dtype == torch.float64


@every_library
def test_as_float64_copies_nothing_that_is_float64(library):
    potentials = build(library)
    wide = potentials.as_float64()
    assert all(
        np.shares_memory(np.asarray(x), np.asarray(getattr(wide, name))) for name, x in potentials.items()
    )


def test_potentials_do_not_change():
    with pytest.raises(AttributeError):
        build().emissions = np.zeros((2, 3, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_bad_value_in_a_term_that_wants_gradients_is_named_without_a_warning(dtype):
    emissions = torch.zeros(1, 2, 2, dtype=dtype)
    emissions[0, 1, 0] = torch.nan
    potentials = Potentials(emissions.requires_grad_(), torch.zeros(2, 2), torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"^emissions\[0, 1, 0\] is nan"):
        potentials.check_values()
