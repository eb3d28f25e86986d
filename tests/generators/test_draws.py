from __future__ import annotations

from uuid import UUID

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from generators.draws import Draws, pick
from generators.identifiers import hex_name, uuid7


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=50), st.integers(0, 49))
def test_a_number_does_not_depend_on_what_is_drawn_beside_it(ids: list[int], which: int) -> None:
    draws, keys = Draws(3), np.array(ids, dtype=np.uint64)
    index = which % len(ids)
    alone = keys[index : index + 1]
    for method in (draws.uniform, draws.normal, draws.exponential):
        assert method("purpose", keys)[index] == method("purpose", alone)[0]


def test_numbers_are_uniform_and_differ_between_purposes_and_seeds() -> None:
    ids = np.arange(200_000)
    one, other, seeded = Draws(1).uniform("a", ids), Draws(1).uniform("b", ids), Draws(2).uniform("a", ids)
    for drawn in (one, other, seeded):
        counts = np.bincount((drawn * 100).astype(int), minlength=100)
        assert drawn.min() >= 0
        assert drawn.max() < 1
        assert ((counts - 2_000) ** 2 / 2_000).sum() < 160  # chi-square with 99 degrees of freedom: 1 in 10,000
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.01
    assert abs(np.corrcoef(one, seeded)[0, 1]) < 0.01
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.01


def test_normal_and_exponential_have_their_moments() -> None:
    ids = np.arange(200_000)
    normal, exponential = Draws(1).normal("n", ids), Draws(1).exponential("e", ids)
    assert abs(normal.mean()) < 0.01
    assert abs(normal.std() - 1) < 0.01
    assert abs(exponential.mean() - 1) < 0.01


def test_pick_follows_the_weights() -> None:
    spread = (np.arange(1_000) + 0.5) / 1_000
    assert np.bincount(pick(spread, np.array([1, 2, 1]))).tolist() == [250, 500, 250]


def test_ids_are_uuids_of_version_7_with_the_time_of_the_event() -> None:
    draws, keys = Draws(1), np.arange(100, dtype=np.uint64)
    times = 1_700_000_000_000 + np.arange(100) * 977
    ids = [UUID(text) for text in uuid7(draws, keys, times)]
    assert {one.version for one in ids} == {7}
    assert {one.variant for one in ids} == {"specified in RFC 4122"}
    assert [one.int >> 80 for one in ids] == times.tolist()
    assert len(set(ids)) == 100
    assert [int(name, 16) for name in hex_name(keys)] == keys.tolist()
