"""A share of the users is kept out, always the same ones, and both arms are written down before anything is sent."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from activations.sync_files import SYNCS_DIR, load_sync
from searchflow.errors import ConfigurationError
from searchflow.holdout import Rule, rule_of
from tests.activations.scene import CRM, EMAILS, NOW, RECO, Scene, crm_row, email_row

USERS = [f"u{number:02}" for number in range(40)]
RULE = Rule(0.25, "spring")
HELD_OUT = [user for user in USERS if RULE.holds_out(user)]
TREATED = [user for user in USERS if not RULE.holds_out(user)]
MAILS = "abandoned_search_emails"


@pytest.fixture
def with_holdout(tmp_path: Path) -> Path:
    """Copy the syncs, and give each a holdout."""
    for path in SYNCS_DIR.glob("*.yaml"):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("holdout")]
        (tmp_path / path.name).write_text("\n".join([*lines, "holdout: {share: 0.25, seed: spring}", ""]))
    return tmp_path


def edit(folder: Path, sync: str, before: str, after: str) -> None:
    path = folder / f"{sync}.yaml"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))


def arms(scene: Scene, sync: str) -> dict[str, str]:
    return dict(scene.lake(f"SELECT unit, arm FROM ops.sync_assignments WHERE sync = '{sync}'"))


def test_the_rule_is_the_documented_hash_and_the_same_in_sql() -> None:
    for rule in (RULE, Rule(0.5, "it's"), Rule(0.001, "x")):
        with duckdb.connect() as connection:
            found = connection.execute(f"SELECT u FROM unnest(?) AS t(u) WHERE {rule.sql('u')}", [USERS]).fetchall()
        expected = [
            user
            for user in USERS
            if int(hashlib.sha256(f"{rule.seed}:{user}".encode()).hexdigest()[:8], 16) < round(rule.share * 2**32)
        ]
        assert [row[0] for row in found] == expected == [user for user in USERS if rule.holds_out(user)]


def test_shares_are_met_and_seeds_are_independent() -> None:
    users = [f"user-{number}" for number in range(20_000)]
    one, other = Rule(0.1, "one"), Rule(0.1, "other")
    first = {user for user in users if one.holds_out(user)}
    both = {user for user in first if other.holds_out(user)}
    assert abs(len(first) - 2000) < 4 * 42.4  # four standard deviations
    assert abs(len(both) - 200) < 4 * 14.1


@pytest.mark.integration
def test_held_out_users_get_no_message_and_both_arms_are_recorded_once(scene: Scene, with_holdout: Path) -> None:
    scene.model(EMAILS, [email_row(user) for user in USERS])
    planned = scene.run(MAILS, folder=with_holdout, dry_run=True)
    assert (planned.added, planned.held_out, arms(scene, MAILS)) == (len(TREATED), len(HELD_OUT), {})
    result = scene.run(MAILS, folder=with_holdout)
    assert (result.added, result.held_out) == (len(TREATED), len(HELD_OUT))
    assert sorted(message["user_id"] for message in scene.outbox()) == TREATED
    recorded = arms(scene, MAILS)
    assert sorted(recorded) == USERS
    assert sorted(user for user, arm in recorded.items() if arm == "held_out") == HELD_OUT

    scene.model(EMAILS, [email_row(user, "2026-03-10") for user in [*USERS, "later"]])
    assert scene.run(MAILS, folder=with_holdout, now=NOW + timedelta(days=1)).added == len(TREATED) + 1
    since = scene.lake("SELECT assigned_at, count(*) FROM ops.sync_assignments GROUP BY 1 ORDER BY 1")
    assert [count for _, count in since] == [40, 1]
    assert scene.run(MAILS, folder=with_holdout, now=NOW + timedelta(days=1)).status == "unchanged"


@pytest.mark.integration
def test_who_is_there_already_stays_and_is_in_neither_arm(scene: Scene, with_holdout: Path) -> None:
    scene.model(CRM, [crm_row(user) for user in USERS[:30]])
    scene.run("crm_user_segments")
    scene.model(CRM, [crm_row(user, "at_risk") for user in USERS])
    scene.run("crm_user_segments", folder=with_holdout, approve=True)
    there = scene.sql("crm", "SELECT user_id, segment FROM crm.user_segments WHERE is_active ORDER BY 1")
    assert there == [(user, "at_risk") for user in USERS if user in USERS[:30] or user in TREATED]
    assert sorted(arms(scene, "crm_user_segments")) == USERS[30:]
    assert scene.reconcile("crm_user_segments", folder=with_holdout).drifted == 0


@pytest.mark.integration
def test_who_is_there_already_leaves_when_the_file_says_so(scene: Scene, with_holdout: Path) -> None:
    scene.model(CRM, [crm_row(user) for user in USERS])
    scene.run("crm_user_segments")
    edit(with_holdout, "crm_user_segments", "seed: spring", "seed: spring, existing: remove")
    result = scene.run("crm_user_segments", folder=with_holdout, approve=True)
    assert (result.removed, result.held_out) == (len(HELD_OUT), len(HELD_OUT))
    there = scene.sql("crm", "SELECT user_id FROM crm.user_segments WHERE is_active ORDER BY 1")
    assert [user for (user,) in there] == TREATED
    assert sorted(arms(scene, "crm_user_segments")) == USERS


@pytest.mark.integration
def test_the_list_for_all_users_is_no_user_and_is_never_held_out(scene: Scene, with_holdout: Path) -> None:
    seed = next(f"s{number}" for number in range(99) if Rule(0.25, f"s{number}").holds_out("__popular__"))
    edit(with_holdout, "recommendations", "seed: spring", f"seed: {seed}")
    scene.model(RECO, [(user, "Lisbon", 1.0, 1) for user in (*USERS[:4], "__popular__")])
    scene.run("recommendations", folder=with_holdout)
    assert scene.reco("popular") == {"Lisbon": "1.000000"}
    assert "__popular__" not in arms(scene, "recommendations")


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("{share: 1, seed: x}", "holdout.share"),
        ("{share: 0.1}", "seed"),
        ("{share: 0.1, seed: x, field: absent}", "absent"),
        ("{share: 0.1, seed: x, existing: remove}", "takes nothing back"),
    ],
)
def test_a_holdout_that_cannot_be_is_named_with_file_and_line(with_holdout: Path, said: str, problem: str) -> None:
    edit(with_holdout, MAILS, "{share: 0.25, seed: spring}", said)
    with pytest.raises(ConfigurationError, match="line") as caught:
        load_sync(MAILS, with_holdout)
    assert problem in str(caught.value)


def test_the_message_about_abandoned_searches_holds_out_a_tenth() -> None:
    rule, sync = rule_of(MAILS), load_sync(MAILS)
    assert sync.holdout is not None
    assert rule == sync.holdout.rule
    assert rule is not None
    assert rule.share == 0.1
