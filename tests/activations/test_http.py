"""The HTTP destination, against a real server: what it answers decides what happens next."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from activations import DestinationUnavailable, SyncResult
from activations.errors import Retryable
from activations.retry import Retries
from searchflow.errors import ConfigurationError, DeliveryFailed, UsageError
from tests.activations.api import Api, running_api
from tests.activations.scene import CRM, Scene, crm_row

pytestmark = pytest.mark.integration

FILE = """\
name: crm_api
description: The same segments, for a CRM behind an API.
model: activation.act_crm_user_segments
key: user_id
mode: {mode}
fields:
  - {{name: user_id, type: text}}
  - {{name: segment, type: text}}
  - {{name: revenue, column: lifetime_revenue, type: "decimal(18,2)"}}
destination:
  type: http
  url: {url}
  {token}
gate: [marts.mart_user_segments]
batch_size: 4
"""


@pytest.fixture
def api() -> Iterator[Api]:
    with running_api() as served:
        yield served


class Runner:
    def __init__(self, scene: Scene, api: Api, folder: Path) -> None:
        self.scene, self.api, self.folder = scene, api, folder
        self.slept: list[float] = []
        self.declare()

    def declare(self, mode: str = "mirror", token: str = "") -> None:
        text = FILE.format(mode=mode, url=self.api.url, token=token)
        (self.folder / "crm_api.yaml").write_text(text)

    def run(self) -> SyncResult:
        return self.scene.run("crm_api", folder=self.folder, sleep=self.slept.append)

    def acknowledged(self) -> int:
        return int(self.scene.sql("ledger", "SELECT count(*) FROM activation.sent")[0][0])


@pytest.fixture
def crm_api(scene: Scene, api: Api, tmp_path: Path) -> Runner:
    scene.model(CRM, [crm_row(f"u{number}") for number in range(1, 7)])
    return Runner(scene, api, tmp_path)


def test_rows_are_posted_in_batches_and_later_only_what_changed(crm_api: Runner) -> None:
    result = crm_api.run()
    assert (result.status, result.added, result.batches) == ("done", 6, 2)
    assert crm_api.api.rows["u1"] == {"user_id": "u1", "segment": "regular", "revenue": 10.5}
    assert [len(body["rows"]) for body in crm_api.api.log] == [4, 2]
    assert crm_api.run().status == "unchanged"
    assert len(crm_api.api.log) == 2

    crm_api.scene.model(CRM, [crm_row("u1", "at_risk"), *(crm_row(f"u{number}") for number in range(2, 6))])
    changed = crm_api.run()
    assert (changed.changed, changed.removed) == (1, 1)
    assert [(body["operation"], body["rows"]) for body in crm_api.api.log[2:]] == [
        ("upsert", [{"user_id": "u1", "segment": "at_risk", "revenue": 10.5}]),
        ("remove", [{"user_id": "u6"}]),
    ]


def test_429_is_waited_out_as_long_as_the_api_asks(crm_api: Runner) -> None:
    crm_api.api.trouble = [(429, {"Retry-After": "7"}, {})]
    result = crm_api.run()
    assert (result.added, result.retried) == (6, 1)
    assert crm_api.slept == [7.0]


def test_a_retry_after_date_is_measured_against_the_servers_clock(crm_api: Runner) -> None:
    date = {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}
    crm_api.api.trouble = [(503, date, {})]
    assert crm_api.run().retried == 1
    assert crm_api.slept[0] < 1


def test_a_retry_after_date_ahead_is_waited_for(crm_api: Runner) -> None:
    ahead = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    crm_api.api.trouble = [(429, {"Retry-After": ahead}, {})]
    assert crm_api.run().retried == 1
    assert 20 <= crm_api.slept[0] <= 30


def test_an_api_that_goes_away_in_the_middle_and_returns_gets_every_row(crm_api: Runner) -> None:
    crm_api.api.fails_after = 1

    def sleep(seconds: float) -> None:
        crm_api.slept.append(seconds)
        if len(crm_api.slept) == 3:
            crm_api.api.fails_after = None

    result = crm_api.scene.run("crm_api", folder=crm_api.folder, sleep=sleep)
    assert (result.added, result.retried, sorted(crm_api.api.rows)) == (6, 3, [f"u{number}" for number in range(1, 7)])
    assert len(crm_api.api.log) == 2


def test_500_is_tried_again_later_and_later(crm_api: Runner) -> None:
    crm_api.api.trouble = [(500, {}, {}), (502, {}, {}), (503, {}, {})]
    assert crm_api.run().retried == 3
    assert [0 <= wait <= 0.2 * 2**number for number, wait in enumerate(crm_api.slept)] == [True] * 3


def test_waits_double_up_to_a_limit_with_full_jitter_and_a_longer_retry_after_wins() -> None:
    def waits(chance: float, *asked: float | None) -> list[float]:
        slept: list[float] = []
        answers = iter(asked)

        def action() -> None:
            raise Retryable("no", after=next(answers))

        with pytest.raises(DestinationUnavailable):
            Retries(attempts=len(asked), longest_wait=1.0, sleep=slept.append, chance=lambda: chance).call("s", action)
        return slept

    assert waits(1.0, *[None] * 6) == [0.2, 0.4, 0.8, 1.0, 1.0]
    assert waits(0.0, *[None] * 4) == [0.0, 0.0, 0.0]
    assert waits(0.5, None, 3.0, 0.1, None) == [0.1, 3.0, 0.4]


def test_an_answer_lost_after_applying_repeats_with_the_same_idempotency_key(crm_api: Runner) -> None:
    crm_api.api.apply_then = [500]
    assert crm_api.run().added == 6
    keys = [key for key, _ in crm_api.api.tries]
    assert len(keys) == 3
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(("mode", "keys_in_all"), [("append", 2), ("mirror", 3)])
def test_a_run_that_gave_up_repeats_an_append_with_the_same_idempotency_key(
    crm_api: Runner, mode: str, keys_in_all: int
) -> None:
    crm_api.declare(mode=mode)
    crm_api.api.apply_then = [500] * 5
    with pytest.raises(DestinationUnavailable):
        crm_api.run()
    crm_api.run()
    keys = [key for key, _ in crm_api.api.tries]
    assert len(set(keys[:5])) == 1
    assert (keys[5] == keys[0]) is (mode == "append")  # rows that are set again must not be taken for old ones
    assert len(set(keys)) == keys_in_all


def test_a_row_that_goes_to_and_fro_gets_new_idempotency_keys(crm_api: Runner) -> None:
    for segment in ("regular", "at_risk", "regular"):
        crm_api.scene.model(CRM, [crm_row("u1", segment)])
        crm_api.run()
    assert len({key for key, _ in crm_api.api.tries}) == 3
    assert crm_api.api.rows["u1"]["segment"] == "regular"


def test_retries_that_are_used_up_keep_what_was_acknowledged(crm_api: Runner) -> None:
    crm_api.run()
    crm_api.scene.sql("ledger", "DELETE FROM activation.sent")
    crm_api.api.fails_after = 3
    result: list[int] = []

    def on_progress(done: int, total: int) -> None:
        result.append(done)

    with pytest.raises(DestinationUnavailable, match=r"after 5 attempts \(HTTP 500\)") as raised:
        crm_api.scene.run("crm_api", folder=crm_api.folder, sleep=crm_api.slept.append, on_progress=on_progress)
    crm_api.api.fails_after = None
    assert raised.value.exit_status == 1
    assert isinstance(raised.value, DeliveryFailed)
    assert (result, crm_api.acknowledged()) == ([4], 4)
    runs = crm_api.scene.lake("SELECT status, added, retried FROM ops.sync_runs WHERE status = 'failed'")
    assert runs == [("failed", 4, 4)]
    assert crm_api.run().added == 2


def test_a_wait_longer_than_our_patience_is_left_to_the_next_run(crm_api: Runner) -> None:
    crm_api.api.trouble = [(429, {"Retry-After": "3600"}, {})]
    with pytest.raises(DestinationUnavailable, match="HTTP 429"):
        crm_api.run()
    assert crm_api.slept == []


def test_an_api_that_is_away_is_tried_and_then_named(crm_api: Runner) -> None:
    crm_api.api.url = "http://127.0.0.1:1/"
    crm_api.declare()
    with pytest.raises(DestinationUnavailable, match=r"HTTP: ConnectError.*searchflow activate crm_api"):
        crm_api.run()
    assert len(crm_api.slept) == 4
    assert crm_api.acknowledged() == 0


@pytest.mark.parametrize("listed", [True, False], ids=["listed in the answer", "the batch refused as a whole"])
def test_rows_the_api_refuses_are_kept_with_their_reason_and_the_rest_is_delivered(
    crm_api: Runner, listed: bool
) -> None:
    crm_api.api.refuses = lambda row: row["user_id"] in ("u2", "u5")
    crm_api.api.lists_refused = listed
    result = crm_api.run()
    assert (result.status, result.added, result.rejected) == ("partial", 4, 2)
    assert sorted(crm_api.api.rows) == ["u1", "u3", "u4", "u6"]
    kept = crm_api.scene.lake("SELECT key, reason FROM ops.sync_rejections ORDER BY key")
    reason = "{}: mail ••• bounced" if listed else "HTTP 422"
    assert kept == [(user, reason.format(user)) for user in ("u2", "u5")]
    assert (crm_api.run().held, crm_api.acknowledged()) == (2, 4)


def test_a_missing_or_refused_token_names_the_variable_and_is_not_tried_again(
    crm_api: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm_api.api.token = "the right one"
    crm_api.declare(token="token_variable: CRM_API_TOKEN")
    with pytest.raises(ConfigurationError, match="CRM_API_TOKEN: is not set") as raised:
        crm_api.run()
    assert raised.value.exit_status == 2
    monkeypatch.setenv("CRM_API_TOKEN", "a wrong one")
    with pytest.raises(ConfigurationError, match="CRM_API_TOKEN: the API refused it") as raised:
        crm_api.run()
    assert "a wrong one" not in str(raised.value)
    monkeypatch.setenv("CRM_API_TOKEN", "the right one")
    assert (crm_api.run().added, crm_api.slept) == (6, [])


def test_a_wrong_address_is_a_configuration_to_correct(crm_api: Runner) -> None:
    crm_api.api.trouble = [(404, {}, {})]
    with pytest.raises(ConfigurationError, match=r"crm_api\.yaml, destination\.url: the API answers HTTP 404"):
        crm_api.run()
    assert crm_api.slept == []


def test_an_append_that_is_there_already_counts_as_delivered(crm_api: Runner) -> None:
    crm_api.declare(mode="append")
    crm_api.scene.model(CRM, [crm_row("u1")])
    crm_api.api.trouble = [(409, {}, {})]
    result = crm_api.run()
    assert (result.added, result.repeated) == (1, 1)
    crm_api.scene.model(CRM, [crm_row("u1", "at_risk"), crm_row("u2")])
    assert crm_api.run().added == 1
    assert crm_api.api.log[-1]["operation"] == "append"


def test_what_cannot_be_read_back_cannot_be_reconciled(crm_api: Runner) -> None:
    with pytest.raises(UsageError, match="cannot be read back"):
        crm_api.scene.reconcile("crm_api", folder=crm_api.folder)
