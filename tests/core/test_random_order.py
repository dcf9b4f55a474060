"""Shuffles by id and seed."""

from hypothesis import given
from hypothesis import strategies as st

from rsidiff_kedro.core.random_order import random_order

ids = st.lists(st.text(alphabet="abc0", min_size=1), unique=True, max_size=20)


@given(ids, st.randoms())
def test_a_shuffle_does_not_depend_on_the_order_it_is_given(ids, random):
    other = random.sample(ids, len(ids))
    assert [ids[i] for i in random_order(ids, 7)] == [other[i] for i in random_order(other, 7)]


@given(ids)
def test_ids_keep_their_order_when_others_go(ids):
    half = ids[::2]
    assert [half[i] for i in random_order(half, 7)] == [ids[i] for i in random_order(ids, 7) if ids[i] in half]


def test_seeds_and_purposes_shuffle_differently():
    ids = [str(number) for number in range(30)]
    orders = {tuple(random_order(ids, *seed)) for seed in ((0,), (1,), (0, "split"), (0, "pool"))}
    assert len(orders) == 4
