"""Splits by whole groups: examples in, those to learn from and those to measure on out."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from tristream.streams.errors import UsageError
from tristream.training.datasets import Dataset, Example

Examples = tuple[Example, ...]
FINEST_FOLDS = 20  # shares are rounded to m of at most so many folds: 0.2 is 1 of 5, 0.15 is 3 of 20
TEST_SHARE = 0.25  # of a data set that leaves its parts open
MIN_SHARE, MAX_SHARE = 1 / FINEST_FOLDS, 1 - 1 / FINEST_FOLDS


def part_off(examples: Sequence[Example], share: float = 0.2, seed: int = 0) -> tuple[Examples, Examples]:
    """(the rest, those held out): about a `share` of each class's examples, whole groups only, for validation.

    Examples that the data set itself calls `validation` are the ones held out, where there are any. Else every
    class keeps a group in the rest; one with two groups or more also has one held out, unless groups hold several
    classes and its own cannot be spared. The same for the same examples and seed, in whatever order they come.

    Raises:
        UsageError: a share under 0.05 or over 0.95, or no group that can be held out.
    """
    own = _in_order(one for one in examples if one.part == "validation")
    if own and len(own) < len(examples):
        return _in_order(one for one in examples if one.part != "validation"), own
    return _hold_out(examples, share, seed)


def train_and_test(dataset: Dataset, share: float = TEST_SHARE, seed: int = 0) -> tuple[Examples, Examples]:
    """(train, test): the data set's own parts, or where it leaves them open, a `share` held out as by `part_off`.

    The train part keeps what the data set calls `validation`, for `part_off` to find. Where it has a validation
    part and no test part, that is the test part, as for folders `train` and `val` alone.

    Raises:
        UsageError: nothing to train on beside the test part, and as `part_off`.
    """
    test = dataset.part("test") or dataset.part("validation")
    if not test:
        return _hold_out(dataset.examples, share, seed)
    chosen = set(test)
    train = _in_order(one for one in dataset.examples if one not in chosen)
    if not train:
        raise UsageError(f"all {len(test)} examples of {dataset.name} are its {test[0].part} part: none to train on")
    return train, test


def train_and_measured(dataset: Dataset, learnt: Callable[[Example], bool], seed: int = 0) -> tuple[Examples, Examples]:
    """(train, those to measure a trained model on); the first is empty where the data set has nothing to learn from.

    The data set's own parts, as `train_and_test` takes them. Where it leaves them open: all of it, if the model has
    `learnt` from none of its files, else those that training held out.

    Raises:
        UsageError: as `part_off`.
    """
    test = dataset.part("test") or dataset.part("validation")
    if test:
        chosen = set(test)
        return _in_order(one for one in dataset.examples if one not in chosen), test
    if any(learnt(one) for one in dataset.examples):
        return _hold_out(dataset.examples, TEST_SHARE, seed)
    return (), _in_order(dataset.examples)


def folds(examples: Sequence[Example], count: int = 5, seed: int = 0) -> tuple[tuple[Examples, Examples], ...]:
    """`count` times (train, test), each example tested once: whole groups only, the classes' shares kept.

    Raises:
        UsageError: fewer than 2 folds, or more than there are groups, or than the largest class has examples.
    """
    ordered = _in_order(examples)
    most = _most_folds(ordered)
    if not 2 <= count <= most:
        raise UsageError(f"these groups and classes give at least 2 and at most {most} folds, got {count}")
    return tuple(_sides(ordered, fold) for fold in _stratified(ordered, count, seed))


def _hold_out(examples: Sequence[Example], share: float, seed: int) -> tuple[Examples, Examples]:
    """A share of the stratified folds, mended where a class has too few groups for them."""
    if not MIN_SHARE <= share <= MAX_SHARE:
        raise UsageError(f"the share to hold out must be from {MIN_SHARE} to {MAX_SHARE}, got {share}")
    ordered = _in_order(examples)
    fraction = Fraction(share).limit_denominator(FINEST_FOLDS)
    count = min(fraction.denominator, _most_folds(ordered))
    held: set[str] = set()  # groups
    if count >= 2:
        taken = min(max(1, round(share * count)), count - 1)
        tests = _stratified(ordered, count, seed)
        # By the seed, as scikit-learn puts the largest groups into the first folds whatever the seed.
        chosen = np.random.default_rng(seed).permutation(count)[:taken]
        held = _mend(set().union(*(tests[fold] for fold in chosen)), ordered)
    if not held:
        groups, classes = len({one.group for one in ordered}), len({one.label for one in ordered})
        raise UsageError(
            f"nothing can be held out of {len(ordered)} examples in {groups} groups of {classes} classes: "
            "no class has a group to spare; add clips from other recordings, or give the parts"
        )
    return _sides(ordered, held)


def _sides(ordered: Examples, held: set[str]) -> tuple[Examples, Examples]:
    """(the rest, those of the held-out groups)."""
    return tuple(one for one in ordered if one.group not in held), tuple(one for one in ordered if one.group in held)


def _mend(held: set[str], examples: Examples) -> set[str]:
    """The held-out groups, changed so that each class is in the rest, and is held out where it has a group to spare."""
    groups_of: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for one in examples:
        groups_of[one.label][one.group] += 1
    held = set(held)
    for groups in groups_of.values():
        if held.issuperset(groups):
            held.difference_update(groups)
    for groups in groups_of.values():
        if held.isdisjoint(groups):
            spare = [group for group in sorted(groups) if _can_spare(group, held, groups_of.values())]
            held.update(sorted(spare, key=groups.__getitem__)[:1])  # the smallest
    return held


def _can_spare(group: str, held: set[str], classes: Iterable[Counter[str]]) -> bool:
    """Whether every class of this group has another one in the rest."""
    return all(set(groups) - held - {group} for groups in classes if group in groups)


def _stratified(ordered: Examples, count: int, seed: int) -> list[set[str]]:
    """The groups of each of `count` folds."""
    labels, groups = [one.label for one in ordered], [one.group for one in ordered]
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class with fewer examples than folds is in some of them only, which is as good as it can be.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        tests = [{groups[index] for index in test} for _, test in splitter.split(labels, labels, groups)]
    for test in tests:
        if not test:  # scikit-learn's rounding may leave a fold empty where there are hardly more groups than folds
            fullest = max(tests, key=len)
            test.add(last := max(fullest))
            fullest.remove(last)
    return tests


def _most_folds(ordered: Examples) -> int:
    """The most folds that scikit-learn makes: of the groups, and of the largest class."""
    largest = max(Counter(one.label for one in ordered).values(), default=0)
    return min(len({one.group for one in ordered}), largest)


def _in_order(examples: Iterable[Example]) -> Examples:
    return tuple(sorted(examples, key=lambda one: one.path))
