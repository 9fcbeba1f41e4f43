from lmladder.errors import InputError
from lmladder.text import SPLITS
from lmladder.text.splits import deal, spans

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

same_examples = settings(derandomize=True, deadline=None)


def lengths(count, train, val, test):
    found = spans(count, train=train, val=val, test=test, unit="characters")
    assert tuple(found) == SPLITS
    return tuple(span.stop - span.start for span in found.values())


@pytest.mark.parametrize(
    ("count", "fractions", "expected"),
    [
        (1_115_394, (0.9, 0.1, 0.0), (1_003_854, 111_540, 0)),
        (10, (0.7, 0.1, 0.2), (7, 1, 2)),  # 0.7 + 0.1 is less than 0.8 in floats
        (10, (0.8, 0.1, 0.1), (8, 1, 1)),
        (1000, (0.9, 0.05, 0.05), (900, 50, 50)),
        (10, (1 / 3, 2 / 3, 0), (3, 7, 0)),  # these sum to less than 1 in floats
        (9, (1 / 3, 1 / 3, 1 / 3), (3, 3, 3)),
        (7, (1, 0, 0), (7, 0, 0)),
        (7, (0.5, 0, 0.5), (3, 0, 4)),
    ],
)
def test_cuts_fall_where_decimal_fractions_say(count, fractions, expected):
    assert lengths(count, *fractions) == expected


def test_cuts_are_in_order():
    found = spans(10, train=0.5, val=0.3, test=0.2, unit="characters")
    assert found == {"train": slice(0, 5), "val": slice(5, 8), "test": slice(8, 10)}


@same_examples
@given(st.integers(1000, 10**6), st.integers(1, 998), st.data())
def test_no_character_is_lost_and_none_counted_twice(count, train, data):
    val = data.draw(st.integers(0, 1000 - train))
    fractions = (train / 1000, val / 1000, (1000 - train - val) / 1000)
    sizes = lengths(count, *fractions)
    assert sum(sizes) == count
    assert all(
        abs(size - count * fraction) < 1 for size, fraction in zip(sizes, fractions, strict=True)
    )


def test_documents_are_shuffled_and_dealt_out():
    parts = deal(100, train=0.8, val=0.1, test=0.1, seed=3)
    assert [len(parts[name]) for name in SPLITS] == [80, 10, 10]
    dealt = [int(number) for name in SPLITS for number in parts[name]]
    assert sorted(dealt) == list(range(100))
    assert dealt != list(range(100))


def test_the_shuffle_depends_on_the_seed_alone():
    first, again, other = (
        deal(100, train=0.9, val=0.1, test=0, seed=seed)["train"].tolist() for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(
    "fractions",
    [(0.9, 0.2, 0), (0.9, 0, 0), (1.1, -0.1, 0), (float("nan"), 0.5, 0.5), (float("inf"), 0, 0)],
)
def test_fractions_that_are_none_are_refused(fractions):
    with pytest.raises(InputError, match="fractions of train, val and test must"):
        lengths(100, *fractions)


def test_a_split_that_comes_out_empty_is_refused_by_name():
    with pytest.raises(InputError, match=r"split 'val' is empty: a fraction of 0.1 of 5 doc"):
        deal(5, train=0.8, val=0.1, test=0.1, seed=0)
    with pytest.raises(InputError, match=r"split 'train' is empty: .* of 1 characters"):
        spans(1, train=0.9, val=0.1, test=0, unit="characters")
