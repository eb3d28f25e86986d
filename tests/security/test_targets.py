"""Nothing is sent to this machine or a link-local address, unless the setting allows it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import SecretStr

import activations
from activations.base import HASH, KEY, Batch, Operation
from activations.destinations import http
from searchflow import targets
from searchflow.errors import ConfigurationError
from searchflow.ops.levels import webhook
from searchflow.settings import Settings, load_settings
from tests.ops.receiver import receiving

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
BATCH = Batch(Operation.REMOVE, pa.table({KEY: ["u-1"], HASH: ["1"]}), NOW)
NOTICE = {"id": "1", "level": "freshness"}
LOCAL = ["127.0.0.1", "127.9.9.9", "localhost", "[::1]", "0.0.0.0", "169.254.0.7", "[fe80::1]", "[::ffff:127.0.0.1]"]
ELSEWHERE = ["192.0.2.7", "198.51.100.3", "10.0.0.8", "[2001:db8::7]"]


@pytest.fixture
def closed(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, local_targets=False)


def test_it_is_off_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(targets.VARIABLE)
    assert load_settings().local_targets is False


@pytest.mark.parametrize("host", LOCAL)
def test_an_address_of_this_machine_is_refused_and_not_repeated(closed: Settings, host: str) -> None:
    url = f"http://{host}:9/secret-path"
    said = targets.refused(closed, url)
    assert targets.VARIABLE in said
    assert "secret-path" not in said
    assert targets.refused(closed.model_copy(update={"local_targets": True}), url) == ""


@pytest.mark.parametrize("host", ELSEWHERE)
def test_an_address_elsewhere_may_be_asked(closed: Settings, host: str) -> None:
    assert targets.refused(closed, f"https://{host}/hook") == ""


@pytest.mark.parametrize("allowed", [False, True])
def test_a_notice_reaches_a_receiver_on_this_machine_only_when_allowed(closed: Settings, allowed: bool) -> None:
    with receiving() as receiver:
        told = closed.model_copy(update={"webhook_url": SecretStr(receiver.url), "local_targets": allowed})
        problem = webhook.post(told, NOTICE, now=NOW)
        assert (problem is None, len(receiver.requests)) == (allowed, int(allowed))


@pytest.mark.parametrize("allowed", [False, True])
def test_a_sync_reaches_an_api_on_this_machine_only_when_allowed(closed: Settings, allowed: bool) -> None:
    with receiving() as receiver:
        settings = closed.model_copy(update={"local_targets": allowed})
        sync = activations.load_sync("crm_user_segments")
        api = http.open_destination(sync, http.Options(url=receiver.url), settings)
        api.prepare()
        if allowed:
            api.deliver(BATCH)
        else:
            with pytest.raises(ConfigurationError, match=targets.VARIABLE):
                api.deliver(BATCH)
        assert len(receiver.requests) == int(allowed)
