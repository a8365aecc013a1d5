"""BIO and BIOES tags, against their rules written out again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semicrf_spec import segments_to_tags, tags_to_segments
from semicrf_spec.testing.strategies import tilings

NAMES = ("O", "PER", "B-side")
SCHEMES = ("BIO", "BIOES")
ALPHABETS = {
    scheme: ["O", *(f"{prefix}-{name}" for prefix in prefixes for name in NAMES[1:])]
    for scheme, prefixes in (("BIO", "BI"), ("BIOES", "BIES"))
}

every_scheme = pytest.mark.parametrize("scheme", SCHEMES)


def split(tag):
    return ("O", "O") if tag == "O" else tuple(tag.split("-", 1))


def legal(tags, scheme):
    """Whether the tags follow the rules: every I (and E) goes on what was begun, and nothing stays open."""
    inside = None  # the name that may go on
    for prefix, name in map(split, tags):
        if prefix in ("I", "E"):
            if inside != name:
                return False
        elif scheme == "BIOES" and inside is not None:
            return False
        inside = name if prefix in ("B", "I") else None
    return scheme == "BIO" or inside is None


def outside_joined(tiling):
    """The tiling with every run of O as one segment: tags do not say where it is cut."""
    joined = []
    for start, end, label in tiling:
        if joined and label == 0 and joined[-1][2] == 0:
            start = joined.pop()[0]
        joined.append((start, end, label))
    return joined


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("BIO", "B-PER I-PER I-PER B-PER O O B-B-side I-B-side"),
        ("BIOES", "B-PER I-PER E-PER S-PER O O B-B-side E-B-side"),
    ],
)
def test_tags_are_spelt_as_the_scheme_says(scheme, tags):
    segments = [(0, 3, 1), (3, 4, 1), (4, 6, 0), (6, 8, 2)]
    assert segments_to_tags(segments, NAMES, scheme) == tags.split()
    assert tags_to_segments(tags.split(), NAMES, scheme) == segments


def test_the_scheme_is_bio_unless_another_is_named():
    assert segments_to_tags([(0, 2, 0)], ["X"]) == ["B-X", "I-X"]
    assert tags_to_segments(["B-X", "I-X"], ["X"]) == [(0, 2, 0)]


@every_scheme
@given(tiling=tilings())
def test_segments_survive_the_way_to_tags_and_back_but_for_cuts_in_runs_of_outside(scheme, tiling):
    tags = segments_to_tags(tiling, NAMES, scheme)
    assert legal(tags, scheme)
    assert tags_to_segments(tags, NAMES, scheme) == outside_joined(tiling)


@every_scheme
@given(tiling=tilings())
def test_without_an_outside_class_every_cut_survives(scheme, tiling):
    assert tags_to_segments(segments_to_tags(tiling, "XYZ", scheme), "XYZ", scheme) == tiling


@every_scheme
@given(data=st.data())
def test_exactly_the_tags_that_follow_the_rules_are_read(scheme, data):
    tags = data.draw(st.lists(st.sampled_from(ALPHABETS[scheme]), max_size=5))
    if legal(tags, scheme):
        segments = tags_to_segments(tags, NAMES, scheme)
        assert segments_to_tags(segments, NAMES, scheme) == tags
    else:
        with pytest.raises(ValueError, match=rf"is not legal {scheme} there: expected '"):
            tags_to_segments(tags, NAMES, scheme)


@pytest.mark.parametrize(
    ("scheme", "tags", "message"),
    [
        ("BIO", "O I-PER", r"tag 'I-PER' at position 1 is not legal BIO there: expected 'B-PER'"),
        ("BIO", "I-PER", r"tag 'I-PER' at position 0 is not legal BIO there: expected 'B-PER'"),
        (
            "BIO",
            "B-PER I-B-side",
            r"tag 'I-B-side' at position 1 is not legal BIO there: expected 'B-B-side'",
        ),
        ("BIO", "O S-PER", r"tag 'S-PER' at position 1 is not legal BIO there: expected 'B-PER'"),
        ("BIOES", "B-PER O", r"tag 'B-PER' at position 0 is not legal BIOES there: expected 'S-PER'"),
        ("BIOES", "B-PER I-PER", r"tag 'I-PER' at position 1 is not legal BIOES there: expected 'E-PER'"),
        ("BIOES", "B-PER S-PER", r"tag 'B-PER' at position 0 is not legal BIOES there: expected 'S-PER'"),
        ("BIOES", "S-PER I-PER", r"tag 'I-PER' at position 1 is not legal BIOES there: expected 'S-PER'"),
        ("BIO", "O B-ORG", r"tag 'B-ORG' at position 1: no class is named 'ORG'"),
        ("BIO", "O PER", r"tag 'PER' at position 1; expected 'O' or a tag like 'B-name'"),
        ("BIO", "B-", r"tag 'B-' at position 0; expected 'O' or a tag like 'B-name'"),
        ("BIO", "-PER", r"tag '-PER' at position 0; expected 'O' or a tag like 'B-name'"),
    ],
)
def test_a_tag_that_cannot_stand_is_named_with_its_position(scheme, tags, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        tags_to_segments(tags.split(), NAMES, scheme)


def test_outside_needs_a_class_of_its_name():
    with pytest.raises(ValueError, match=r"^tag 'O' at position 1: no class is named 'O'"):
        tags_to_segments(["B-X", "O"], ["X"])


@pytest.mark.parametrize("label", [-1, 3, -100])
def test_a_label_without_a_name_is_named_with_its_segment(label):
    with pytest.raises(
        ValueError, match=rf"segment 1 \(1, 2, {label}\) has a label out of range: .* label < 3"
    ):
        segments_to_tags([(0, 1, 0), (1, 2, label)], NAMES)


def test_segments_that_do_not_tile_have_no_tags():
    with pytest.raises(ValueError, match=r"segment 1 \(2, 3, 0\) leaves a gap"):
        segments_to_tags([(0, 1, 0), (2, 3, 0)], NAMES)


@pytest.mark.parametrize("scheme", ["bioes", "IOB", ""])
def test_an_unknown_scheme_is_an_error_in_both_directions(scheme):
    with pytest.raises(ValueError, match=rf"^scheme is '{scheme}'; expected one of \('BIO', 'BIOES'\)"):
        segments_to_tags([(0, 1, 0)], NAMES, scheme)
    with pytest.raises(ValueError, match=r"^scheme is"):
        tags_to_segments(["O"], NAMES, scheme)
