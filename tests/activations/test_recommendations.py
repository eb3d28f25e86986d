"""The recommendation cache: replaced as a whole per user, expires, and falls back to a popular list."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.activations.scene import NOW, RECO, Scene

pytestmark = pytest.mark.integration

SYNC = "recommendations"
POPULAR = ("__popular__", "Paris", 0.5, 1)
ROWS = [("u1", "Lisbon", 1.0, 1), ("u1", "Tokyo", 0.25, 2), ("u2", "Rome", 0.9, 1), POPULAR]


def test_each_user_has_a_hash_and_everybody_else_the_popular_one(scene: Scene) -> None:
    scene.model(RECO, ROWS)
    assert scene.run(SYNC).added == 3
    assert scene.reco("u1") == {"Lisbon": "1.000000", "Tokyo": "0.250000"}
    assert scene.reco("u2") == {"Rome": "0.900000"}
    assert scene.reco("popular") == {"Paris": "0.500000"}
    assert not scene.redis.exists("searchflow:reco:__popular__")
    assert 13 * 86400 < scene.redis.ttl("searchflow:reco:u1") <= 14 * 86400
    assert scene.redis.ttl("searchflow:reco:popular") == -1


def test_a_changed_user_is_replaced_and_the_others_are_left_alone(scene: Scene) -> None:
    scene.model(RECO, ROWS)
    scene.run(SYNC)
    scene.redis.persist("searchflow:reco:u2")  # shows whether it is written again
    scene.model(RECO, [("u1", "Oslo", 0.5, 1), *ROWS[2:]])
    result = scene.run(SYNC)
    assert (result.changed, result.unchanged) == (1, 2)
    assert scene.reco("u1") == {"Oslo": "0.500000"}
    assert scene.redis.ttl("searchflow:reco:u2") == -1


def test_noise_in_the_last_digits_is_not_a_change(scene: Scene) -> None:
    scene.model(RECO, ROWS)
    scene.run(SYNC)
    scene.model(RECO, [("u1", "Lisbon", 1.0 - 1e-12, 1), *ROWS[1:]])
    assert scene.run(SYNC).status == "unchanged"


def test_who_leaves_is_removed(scene: Scene) -> None:
    scene.model(RECO, ROWS)
    scene.run(SYNC)
    scene.model(RECO, [ROWS[2], POPULAR])
    assert scene.run(SYNC).removed == 1
    assert scene.reco("u1") == {}


def test_what_stays_right_is_refreshed_before_it_expires(scene: Scene) -> None:
    scene.model(RECO, ROWS)
    scene.run(SYNC)
    scene.redis.expire("searchflow:reco:u1", 60)
    assert scene.run(SYNC, now=NOW + timedelta(days=6)).status == "unchanged"
    result = scene.run(SYNC, now=NOW + timedelta(days=8))
    assert (result.status, result.refreshed, result.unchanged) == ("done", 3, 3)
    assert scene.redis.ttl("searchflow:reco:u1") > 86400


def test_a_user_called_like_the_popular_list_is_rejected(scene: Scene) -> None:
    scene.model(RECO, [("popular", "Lisbon", 1.0, 1), POPULAR])
    result = scene.run(SYNC)
    assert (result.added, result.rejected) == (1, 1)
    assert scene.reco("popular") == {"Paris": "0.500000"}


def test_a_reader_never_sees_a_half_written_user(scene: Scene) -> None:
    import threading

    before = {f"d{number}": "0.100000" for number in range(30)}
    after = {f"e{number}": "0.200000" for number in range(30)}
    users = [f"u{number}" for number in range(200)]
    scene.model(RECO, [(user, name, 0.1, 1) for user in users[:3] for name in before])
    scene.run(SYNC)
    scene.model(RECO, [(user, name, 0.2, 1) for user in users[:3] for name in after])
    seen: list[dict[str, str]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(scene.reco("u1"))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        scene.run(SYNC)
    finally:
        done.set()
        reader.join()
    assert scene.reco("u1") == after
    assert all(found in (before, after) for found in seen)
