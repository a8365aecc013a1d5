"""Moments: beside each message, in nats, the mean of a value so far, and what counts have to do with it.

First moments are the posteriors themselves: here for scores of whole segments, which have to be read one by
one anyhow, so that nothing is saved by the linear scan. Second moments are covariances of counts with the
value, which is made of the parts that a score is made of and stands in `Terms` like one. Every position is
covered once, so what all labels there lose of their score and value changes nothing: the forward scan takes
off what keeps both near 0, however long the sequence, and the backward scan the same.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from semicrf_reference.compiled.chain import level_of
from semicrf_reference.compiled.extremes import larger
from semicrf_reference.compiled.jit import inlined, jit, kernel, summed
from semicrf_reference.compiled.problem import ANSWERS, SPARE, TERMS, Answers, Array
from semicrf_reference.compiled.rows import move_to_front, row_sum
from semicrf_reference.compiled.scan import is_cut
from semicrf_reference.compiled.terms import backward_terms, forward_terms, read_ending
from semicrf_reference.compiled.wide import exp_wide, power_of_two, two_sum
from semicrf_spec.cost import Size


class Means(NamedTuple):
    """Messages, in nats, and the mean of the value given each; a step has row `step % len`."""

    star: Array  # (rows, C)
    star_value: Array
    closed: Array
    closed_value: Array


class Open(NamedTuple):
    """Open segments of each label in the order of their beginnings, and the terms that they meet."""

    score: Array  # (C, K + spare)
    value: Array
    duration: Array  # (C, K), the longest first
    duration_value: Array
    transition: Array  # (C, C): `transition[c, i]` leads from i to c
    transition_value: Array
    shares: Array  # (max(K, C),)
    levels: Array  # (4, T): what every label of a position loses of its score and value


OWN, TOP, OWN_VALUE, TOP_VALUE = range(4)
"""Rows of the levels: of the emissions there, and of what has come before."""

TOTAL, FIRST, SECOND = np.arange(3)  # no literals, each of which would compile the scan anew
"""What is asked for: the log partition, with it posteriors, or covariances."""


class Meeting(NamedTuple):
    """Where the backward scan meets the forward one, and what it counts there."""

    counting: bool
    order: Any
    length: int
    total: float  # log partition, less the levels
    mean: float  # of the value, likewise
    forward: Means
    answers: Answers
    sequence: int


MEANS = "Tuple((float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1]))"
OPEN = (
    "Tuple((float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1],"
    "float64[:,::1], float64[:,::1], float64[::1], float64[:,::1]))"
)
"""Types of the arrays of `Means` and of `Open`."""
VALUES = TERMS.replace("real", "float64").replace(
    "float64[:,:,:,:], float64[:], float64[:]", "float64[:,:,:,:], float64[:,:], float64[:,:]"
)
"""Types of the arrays of values: of terms, but with a `start` and an `end` for each sequence."""


def means_space(rows: int, classes: int) -> tuple[Array, ...]:
    """The memory of `Means`."""
    return tuple(np.empty((4, rows, classes)))


def open_space(size: Size) -> tuple[Array, ...]:
    """The memory of `Open`."""
    _, time, max_duration, classes = size
    longest = max(1, min(max_duration, time))
    room = longest + max(longest, SPARE)
    return (
        *np.empty((2, classes, room)),
        *np.empty((2, classes, longest)),
        *np.empty((2, classes, classes)),
        np.empty(max(longest, classes)),
        np.empty((4, time)),
    )


@inlined
def share_out(scores, first, more, first_more, count, shares):
    """Of the exponentials of `count` sums: the log of their sum, and the share of each.

    The sums are rounded before the largest is taken off: what is added to a mask is lost from both.
    """
    first, first_more = np.uint64(first), np.uint64(first_more)
    top = -math.inf
    for k in range(np.uint64(count)):
        shares[k] = scores[first + k] + more[first_more + k]
        top = larger(top, shares[k])
    if top == -math.inf:
        return top
    for k in range(np.uint64(count)):
        weight, exponent = exp_wide(shares[k] - top)
        shares[k] = weight * power_of_two(exponent)
    total = row_sum(shares[:count])
    factor = 1.0 / total
    for k in range(np.uint64(count)):
        shares[k] *= factor
    return top + math.log(total)


@summed
def average(values, first, more, first_more, count, shares):
    """The mean of `count` sums."""
    first, first_more = np.uint64(first), np.uint64(first_more)
    found = 0.0
    for k in range(np.uint64(count)):
        found += shares[k] * (values[first + k] + more[first_more + k])
    return found


@inlined
def largest(scores):
    """The largest score, `-inf` of none."""
    top = -math.inf
    for k in range(scores.size):
        top = larger(top, scores[k])
    return top


@inlined
def probability(log_weight):
    """The exponential."""
    weight, exponent = exp_wide(log_weight)
    return weight * power_of_two(exponent)


@jit
def scan_means(terms, values, open_, means, meeting):
    """The messages of a direction and their means; the backward one counts as it goes."""
    length, classes = terms.emissions.shape
    longest = open_.duration.shape[1]
    for c in range(classes):
        for d in range(longest):
            open_.duration[c, longest - 1 - d] = terms.duration[0, d, c]
            open_.duration_value[c, longest - 1 - d] = values.duration[0, d, c]
    stop = 0
    for step in range(length):
        enter(terms, values, open_, means, meeting, step)
        if not meeting.counting:
            set_levels(terms, values, open_, means, step)
        if stop == open_.score.shape[1]:
            move_to_front(open_.score, stop, longest)
            move_to_front(open_.value, stop, longest)
            stop = longest
        if is_cut(terms, step):
            for c in range(classes):
                for k in range(max(stop - longest, 0), stop):
                    open_.score[c, k] = -math.inf
        stop += 1
        take(terms, values, open_, means, meeting, step, stop, min(longest, step + 1))
        if not meeting.counting and step + 1 < length:
            keep_likeliest(open_, stop, min(longest - 1, step + 1), step + 1)


@jit
def enter(terms, values, open_, means, meeting, step):
    """What begins at a step, from what has ended before it."""
    now, before = step % len(means.star), (step - 1) % len(means.star)
    classes = open_.transition.shape[0]
    by_position = terms.transition.strides[0] != 0 or values.transition.strides[0] != 0
    if step == 1 or (step > 1 and by_position):
        for c in range(classes):
            for i in range(classes):
                open_.transition[c, i] = terms.transition[step - 1, i, c]
                open_.transition_value[c, i] = values.transition[step - 1, i, c]
    for c in range(classes):
        star, value = terms.start[c], values.start[c]
        if step > 0:
            star = share_out(means.closed[before], 0, open_.transition[c], 0, classes, open_.shares)
            value = 0.0
            if star > -math.inf:
                value = average(
                    means.closed_value[before], 0, open_.transition_value[c], 0, classes, open_.shares
                )
        means.star[now, c], means.star_value[now, c] = star, value
        if meeting.counting:
            meet_star(open_, means, meeting, step, c)


@inlined
def set_levels(terms, values, open_, means, step):
    """Of a position: that of its emissions, and the score and value of the likeliest to be open or to begin.

    Of the two that which is nearer to 0: what begins may be what nobody wants, where no segment should end,
    and what is open what cannot end.
    """
    open_.levels[OWN, step] = level_of(terms.emissions[step], 0, terms.emissions.shape[1])
    open_.levels[OWN_VALUE, step] = level_of(values.emissions[step], 0, terms.emissions.shape[1])
    now, top, value = step % len(means.star), -math.inf, 0.0
    for c in range(means.star.shape[1]):
        if means.star[now, c] > top:
            top, value = means.star[now, c], means.star_value[now, c]
    if step > 0 and not is_cut(terms, step) and abs(open_.levels[TOP, step]) < abs(top):
        top, value = open_.levels[TOP, step], open_.levels[TOP_VALUE, step]  # of what was open before
    open_.levels[TOP, step] = top if top > -math.inf else 0.0
    open_.levels[TOP_VALUE, step] = value if top > -math.inf else 0.0


@jit
def keep_likeliest(open_, stop, count, step):
    """Keep the score and the value of the likeliest of the newest open segments for the levels of a step."""
    top, value = -math.inf, 0.0
    for c in range(open_.score.shape[0]):
        score = open_.score[c, stop - count : stop]
        best = largest(score)
        if best > top:
            first = 0
            while score[first] != best:
                first += 1
            top, value = best, open_.value[c, stop - count + first]
    open_.levels[TOP, step], open_.levels[TOP_VALUE, step] = top, value


@inlined
def counted(meeting, p, value):
    """What happens with probability p adds to its count; the value is its mean given that, less the mean."""
    return p if meeting.order == FIRST or p == 0.0 else p * value


@inlined
def meet_star(open_, means, meeting, step, c):
    """Moments of the segments that end at a position with a label, and of the transitions from there."""
    answers, forward, b = meeting.answers, meeting.forward, meeting.sequence
    now, before = step % len(means.star), (step - 1) % len(means.star)
    at = meeting.length - 1 - step
    p = probability(forward.closed[at, c] + means.star[now, c] - meeting.total)
    value = forward.closed_value[at, c] - meeting.mean
    found = counted(meeting, p, value + means.star_value[now, c])
    if answers.ends.shape[1] > 0:
        answers.ends[b, at, c] = found
    if step == 0:
        answers.edges[1, b, c] = found
    elif p > 0.0:
        row = at + 1 if answers.transitions.shape[2] > 1 else 0
        joint = answers.transitions[0, b, row, c]
        for i in range(joint.size):
            onward = means.closed_value[before, i] + open_.transition_value[c, i]
            joint[i] += counted(meeting, p * open_.shares[i], value + onward)


@jit
def take(terms, values, open_, means, meeting, step, stop, reach):
    """Segments begin, cover the position and end."""
    now, longest = step % len(means.star), open_.duration.shape[1]
    at = meeting.length - 1 - step if meeting.counting else step
    levels = open_.levels[:, at]
    row, onward = (at, 0) if meeting.counting else (step + 1 - reach, 1)
    if terms.duration.strides[0] != 0:
        read_ending(terms.duration, row, onward, reach, longest - reach, open_.duration)
    if values.duration.strides[0] != 0:
        read_ending(values.duration, row, onward, reach, longest - reach, open_.duration_value)
    for c in range(open_.transition.shape[0]):
        score, value = open_.score[c], open_.value[c]
        begin = np.float64(terms.begin[step, c]) if terms.begin.shape[1] > 0 else 0.0
        begin_value = values.begin[step, c] if values.begin.shape[1] > 0 else 0.0
        score[stop - 1], value[stop - 1] = means.star[now, c] + begin, means.star_value[now, c] + begin_value
        # the level of the emissions first: what is left of them is exact where they are alike
        emission = (np.float64(terms.emissions[step, c]) - levels[OWN]) - levels[TOP]
        emission_value = (values.emissions[step, c] - levels[OWN_VALUE]) - levels[TOP_VALUE]
        for k in range(stop - reach, stop):
            score[k] += emission
            value[k] += emission_value
        first, first_duration = stop - reach, longest - reach
        closed = share_out(score, first, open_.duration[c], first_duration, reach, open_.shares)
        mean = 0.0
        if closed > -math.inf:
            mean = average(value, first, open_.duration_value[c], first_duration, reach, open_.shares)
        finish = np.float64(terms.finish[step, c]) if terms.finish.shape[1] > 0 else 0.0
        finish_value = values.finish[step, c] if values.finish.shape[1] > 0 else 0.0
        means.closed[now, c], means.closed_value[now, c] = closed + finish, mean + finish_value
        if meeting.counting:
            meet_closed(terms, open_, means, meeting, step, stop, reach, c, finish_value)


@inlined
def meet_closed(terms, open_, means, meeting, step, stop, reach, c, finish_value):
    """Moments of the position, of the segments that begin there with a label, and of their durations."""
    answers, forward, b = meeting.answers, meeting.forward, meeting.sequence
    now, longest = step % len(means.star), open_.duration.shape[1]
    at = meeting.length - 1 - step
    p = probability(forward.star[at, c] + means.closed[now, c] - meeting.total)
    value = forward.star_value[at, c] - meeting.mean
    found = counted(meeting, p, value + means.closed_value[now, c])
    if answers.begins.shape[1] > 0:
        answers.begins[b, at, c] = found
    if at == 0:
        answers.edges[0, b, c] = found
    if p > 0.0:
        durations = answers.durations[0, b, at if answers.durations.shape[2] > 1 else 0]
        covering = 0.0  # of the segments that last at least as long: nothing is ever taken off
        for k in range(reach):
            onward = open_.value[c, stop - reach + k] + open_.duration_value[c, longest - reach + k]
            found = counted(meeting, p * open_.shares[k], value + finish_value + onward)
            durations[reach - 1 - k, c] += found
            covering += found
            answers.position[b, at + reach - 1 - k, c] += covering


@inlined
def values_of(values, arrays, b):
    """The values of a sequence, like terms of the batch."""
    position, transition, transposed, duration, starts, ends, begin, finish, _, _ = values
    return (
        position, transition, transposed, duration, starts[b], ends[b], begin, finish, arrays[8], arrays[9],
    )  # fmt: skip


@jit
def with_levels(total, levels):
    """The log partition, the levels added up without their rounding."""
    high, low = total, 0.0
    if total > -math.inf:
        for row in range(len(levels)):
            for level in levels[row]:
                high, error = two_sum(high, level)
                low += error
    return high + low


@jit
def scan_forward(arrays, given, b, n, open_, means, answers):
    """The messages that go forward. Returns the log partition less the levels."""
    nothing = Meeting(False, TOTAL, n, 0.0, 0.0, means, answers, b)
    scan_means(forward_terms(arrays, b, n), forward_terms(given, b, n), open_, means, nothing)
    end = arrays[5]
    return share_out(means.closed[(n - 1) % len(means.closed)], 0, end, 0, end.size, open_.shares)


@kernel(f"void(int64, int64, int64, {TERMS}, {VALUES}, {ANSWERS}, {MEANS}, {MEANS}, {OPEN})")
def moments_batch(first, last, order, arrays, values, answers, forward, backward, space):
    """What is asked for of sequences `first .. last - 1`, counts into zeros."""
    lengths, end = arrays[8], arrays[5]
    open_, ahead, back = Open(*space), Means(*forward), Means(*backward)
    found = Answers(*answers)
    ends = values[5]
    for b in range(first, last):
        n = lengths[b]
        found.total[b] = 0.0
        if n == 0:
            continue
        given = values_of(values, arrays, b)
        total = scan_forward(arrays, given, b, n, open_, ahead, found)
        found.total[b] = with_levels(total, open_.levels[: TOP + 1, :n])
        if total == -math.inf or order == TOTAL:
            continue
        mean = average(ahead.closed_value[n - 1], 0, ends[b], 0, end.size, open_.shares)
        meeting = Meeting(True, order, n, total, mean, ahead, found, b)
        scan_means(backward_terms(arrays, b, n), backward_terms(given, b, n), open_, back, meeting)
