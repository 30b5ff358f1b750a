"""Splits by whole groups, and their laws."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tristream.streams.errors import UsageError
from tristream.training.datasets import Dataset, Example, Part
from tristream.training.splits import folds, part_off, train_and_measured, train_and_test

# Groups, each with its clips' classes: of one class as in UCF101, or of several as KTH's persons.
own_groups = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5)), min_size=2, max_size=40).map(
    lambda groups: [[label] * clips for label, clips in groups]
)
shared_groups = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=5), min_size=2, max_size=20)
shares = st.floats(0.05, 0.95)
seeds = st.integers(0, 2**32 - 1)


def made(groups: Sequence[Sequence[int]], part: Part | None = None) -> list[Example]:
    return [
        Example(Path(f"{group}_{clip}.avi"), f"class {label}", f"group {group}", part)
        for group, labels in enumerate(groups)
        for clip, label in enumerate(labels)
    ]


def groups_of(examples: Sequence[Example]) -> dict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for one in examples:
        found[one.label].add(one.group)
    return found


def check_two_sides(examples: Sequence[Example], rest: Sequence[Example], held: Sequence[Example]) -> None:
    assert not {one.group for one in rest} & {one.group for one in held}
    assert Counter([*rest, *held]) == Counter(examples)
    assert list(rest) == sorted(rest, key=lambda one: one.path)


@settings(deadline=None, max_examples=60)
@given(own_groups, shares, seeds)
def test_each_class_is_on_both_sides_where_it_has_two_groups(groups: list[list[int]], share: float, seed: int) -> None:
    examples = made(groups)
    several = {label for label, found in groups_of(examples).items() if len(found) > 1}
    assume(several)
    rest, held = part_off(examples, share, seed)
    check_two_sides(examples, rest, held)
    assert {one.label for one in rest} == {one.label for one in examples}
    assert {one.label for one in held} == several


@settings(deadline=None, max_examples=60)
@given(shared_groups, shares, seeds)
def test_groups_of_several_classes_stay_whole_and_every_class_is_learnt(
    groups: list[list[int]], share: float, seed: int
) -> None:
    examples = made(groups)
    try:
        rest, held = part_off(examples, share, seed)
    except UsageError:  # no group can be spared: each is the only one of some class
        found = groups_of(examples)
        assert all(any(found[label] == {f"group {i}"} for label in found) for i in range(len(groups)))
        return
    check_two_sides(examples, rest, held)
    assert {one.label for one in rest} == {one.label for one in examples}
    assert held


@settings(deadline=None, max_examples=60)
@given(own_groups, shares, seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_examples_does_not_matter(
    groups: list[list[int]], share: float, seed: int, order: random.Random
) -> None:
    examples = made(groups)
    assume(any(len(found) > 1 for found in groups_of(examples).values()))
    shuffled = order.sample(examples, len(examples))
    assert part_off(shuffled, share, seed) == part_off(examples, share, seed)


@settings(deadline=None, max_examples=60)
@given(st.one_of(own_groups, shared_groups), st.integers(2, 5), seeds, st.randoms(use_true_random=False))
def test_folds_test_each_example_once(groups: list[list[int]], count: int, seed: int, order: random.Random) -> None:
    examples = made(groups)
    assume(count <= max(Counter(one.label for one in examples).values()) and count <= len(groups))
    cut = folds(examples, count, seed)
    assert len(cut) == count
    for train, test in cut:
        check_two_sides(examples, train, test)
        assert test
    assert Counter(one for _, test in cut for one in test) == Counter(examples)
    assert folds(order.sample(examples, len(examples)), count, seed) == cut


@settings(deadline=None, max_examples=60)
@given(own_groups, st.integers(2, 5), seeds)
def test_folds_train_on_each_class_with_two_groups_and_test_each_with_enough(
    groups: list[list[int]], count: int, seed: int
) -> None:
    examples = made(groups)
    assume(count <= max(Counter(one.label for one in examples).values()) and count <= len(groups))
    for train, test in folds(examples, count, seed):
        for label, found in groups_of(examples).items():
            assert len(found) == 1 or label in {one.label for one in train}
            assert len(found) < count or label in {one.label for one in test}


def test_no_fold_is_empty_where_there_are_enough_groups() -> None:
    examples = made([[0], [0, 0, 0, 1], [2], [3], [0, 3]])  # scikit-learn alone leaves one of five empty
    assert all(test for _, test in folds(examples, 5))


@pytest.mark.parametrize("share", [0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 0.8])
def test_the_share_is_kept_in_each_class(share: float) -> None:
    examples = made([[group % 4] * 3 for group in range(4 * 20)])  # 20 groups of 3 clips in each of 4 classes
    _, held = part_off(examples, share)
    counts = Counter(one.label for one in held)
    assert len(held) == pytest.approx(share * len(examples), abs=3)
    assert max(counts.values()) - min(counts.values()) <= 3


def test_another_seed_holds_out_other_groups() -> None:
    examples = made([[group % 2] * (1 + group % 3) for group in range(60)])
    assert len({part_off(examples, seed=seed)[1] for seed in range(5)}) == 5


@pytest.mark.parametrize("share", [0.0, 0.04, 0.96, float("nan")])
def test_refuses_a_share_that_leaves_a_side_empty(share: float) -> None:
    with pytest.raises(UsageError, match=r"the share to hold out must be from 0\.05 to 0\.95"):
        part_off(made([[0], [0]]), share)


@pytest.mark.parametrize("groups", [[], [[0, 0, 1, 1]], [[0], [1]]])
def test_refuses_to_hold_out_the_only_group(groups: list[list[int]]) -> None:
    with pytest.raises(UsageError, match="nothing can be held out"):
        part_off(made(groups))


@pytest.mark.parametrize("count", [1, 4])
def test_refuses_folds_that_cannot_be(count: int) -> None:
    with pytest.raises(UsageError, match=f"at least 2 and at most 3 folds, got {count}"):
        folds(made([[0, 1], [0, 1], [0, 1]]), count)


def numbered(part: Part | None, *numbers: int) -> tuple[Example, ...]:
    return tuple(Example(Path(f"{i:02}.avi"), "ab"[i % 2], str(i), part) for i in numbers)


def test_a_validation_part_of_the_data_set_is_what_is_held_out() -> None:
    train, validation = numbered("train", 0, 1, 2), numbered("validation", 3, 4)
    assert part_off(train + validation, 0.5) == (train, validation)


def test_a_data_set_keeps_its_own_parts() -> None:
    train, validation, test = numbered("train", 0, 3), numbered("validation", 1, 4), numbered("test", 2, 5)
    whole = tuple(sorted(train + validation + test, key=lambda one: one.path))
    learnt, tested = train_and_test(Dataset("set", "folders", whole))
    assert (set(learnt), tested) == ({*train, *validation}, test)
    assert part_off(learnt) == (train, validation)


def test_a_validation_part_alone_is_the_test_part() -> None:
    train, validation = numbered("train", 0, 3), numbered("validation", 1, 4)
    assert train_and_test(Dataset("set", "folders", train + validation)) == (train, validation)


@pytest.mark.parametrize("part", [None, "train"])
def test_an_open_split_is_made(part: Part | None) -> None:
    examples = numbered(part, *range(40))
    train, test = train_and_test(Dataset("set", "folders", examples))
    check_two_sides(examples, train, test)
    assert Counter(one.label for one in test) == {"a": 5, "b": 5}


def test_a_test_part_alone_leaves_nothing_to_train_on() -> None:
    with pytest.raises(UsageError, match="all 4 examples of set are its test part"):
        train_and_test(Dataset("set", "csv", numbered("test", 0, 1, 2, 3)))


@pytest.mark.parametrize("part", [None, "train"])
def test_a_trained_model_is_measured_on_all_that_it_has_not_learnt_from(part: Part | None) -> None:
    examples = numbered(part, *range(40))
    whole = Dataset("set", "folders", examples)
    train, measured = train_and_measured(whole, lambda _: False)
    assert (set(train), set(measured)) == (set(), set(examples))
    assert train_and_measured(whole, lambda one: one == examples[7]) == train_and_test(whole)


def test_a_trained_model_is_measured_on_a_test_part_though_nothing_is_there_to_learn_from() -> None:
    train, test = numbered("train", 0, 1), numbered("test", 2, 3)
    assert train_and_measured(Dataset("set", "csv", test), lambda _: True) == ((), test)
    assert train_and_measured(Dataset("set", "csv", train + test), lambda _: True) == (train, test)
