"""Templates and YAML files are read as data: a value of theirs makes no object and calls nothing of the program."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import activations
from activations.mail import templates
from searchflow.errors import ConfigurationError
from searchflow.ops.levels.declaration import load_levels
from searchflow.settings import ROOT

TAGGED = ["!!python/name:len", "!!python/object/apply:len [abc]", "!!python/tuple [1, 2]", "!unknown 1"]
REACHING = ["{{ query.__class__ }}", "{{ ''.__class__.__name__ }}", "{{ self.__init__ }}", "{{ names.append(1) }}"]


@pytest.mark.parametrize("value", TAGGED)
def test_a_sync_file_makes_no_object(tmp_path: Path, value: str) -> None:
    text = (ROOT / "activations" / "syncs" / "crm_user_segments.yaml").read_text()
    (tmp_path / "crm_user_segments.yaml").write_text(f"{text}\nextra: {value}\n")
    with pytest.raises(ConfigurationError, match="crm_user_segments"):
        activations.load_sync("crm_user_segments", tmp_path)


@pytest.mark.parametrize("value", TAGGED)
def test_the_file_of_service_levels_makes_no_object(tmp_path: Path, value: str) -> None:
    path = tmp_path / "service_levels.yaml"
    path.write_text(f"{(ROOT / 'service_levels.yaml').read_text()}\nextra: {value}\n")
    with pytest.raises(ConfigurationError, match="service_levels"):
        load_levels(path)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the templates, in the place of ours."""
    copy = ROOT / ".cache" / "templates-of-a-test"
    shutil.copytree(templates.FOLDER, copy, dirs_exist_ok=True)
    monkeypatch.setattr(templates, "FOLDER", copy)
    templates._environment.cache_clear()
    yield copy
    templates._environment.cache_clear()
    shutil.rmtree(copy)


@pytest.mark.parametrize("text", REACHING)
def test_a_template_reaches_nothing_behind_its_values(folder: Path, text: str) -> None:
    trigger = templates.triggers()[0]
    (folder / trigger / "body.txt").write_text(text)
    (folder / trigger / "body.html").write_text("")
    (folder / trigger / "subject.txt").write_text("{{ query }}")
    values: dict[str, Any] = {"query": "{{ 7 * 7 }}", "names": ["a"]}
    with pytest.raises(ConfigurationError):
        templates.render(trigger, values, None)
    assert values["names"] == ["a"]
    (folder / trigger / "body.txt").write_text("{{ query }}")
    assert templates.render(trigger, values, None).text == "{{ 7 * 7 }}"  # a value is no template
