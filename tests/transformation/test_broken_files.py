"""A file of the project that does not load is one line: the file, the line where it is known, and the reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from searchflow.errors import ConfigurationError
from searchflow.transformation.broken import unbroken
from searchflow.transformation.project import environment_kept, quiet
from tests import small_project
from tests.small_project import DAYS, FILES, MACRO, TEST, TOTAL

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*")
AUDIT = "audits/promises.sql"
SQL = FILES[DAYS]
CASES: dict[str, tuple[str, str | bytes, str, int | None, str]] = {
    "half a query": (DAYS, SQL[: SQL.index("::BIGINT")] + "(", DAYS, 20, "Required keyword"),
    "only its head": (DAYS, SQL[: SQL.index("SELECT")], DAYS, None, "A query is required"),
    "no such kind": (DAYS, SQL.replace("kind INCREMENTAL_BY_TIME_RANGE", "kind SOMETIMES"), DAYS, None, "SOMETIMES"),
    "no such macro": (DAYS, SQL.replace("@COUNTED", "@NOSUCH"), DAYS, None, "Macro 'NOSUCH' does not exist"),
    "no such variable": (DAYS, SQL.replace("@COUNTED(event_id)", "@no_such"), DAYS, None, "no_such"),
    "no such audit": (DAYS, SQL.replace("NOT_NULL(", "NOSUCH("), DAYS, None, "'nosuch' is undefined"),
    "not UTF-8": (DAYS, b"\xff\xfe" + SQL.encode(), DAYS, None, "can't decode byte 0xff"),
    "a model in Python": (TOTAL, FILES[TOTAL].replace("execute(", "execute(("), TOTAL, 15, "invalid syntax"),
    "a model that raises": (TOTAL, FILES[TOTAL] + "\nnosuch\n", TOTAL, 19, "NameError: name 'nosuch' is not defined"),
    "a macro": (MACRO, FILES[MACRO] + "\ndef more(:\n", MACRO, 12, "invalid syntax"),
    "a macro that raises": (MACRO, "1 / 0\n", MACRO, 1, "ZeroDivisionError: division by zero"),
    "an audit": (AUDIT, "AUDIT (name a);\n\nSELEC * FROM @this_model WHERE (\n", AUDIT, 3, ""),
    "the configuration": ("config.yaml", "a: [1,\nb: 2\n", "config.yaml", None, "while parsing"),
    "a unit test": (TEST, "a: [1,\n", TEST, 2, "did not find expected node content"),
    "raw tables": (
        "external_models.yaml",
        "- name: [\n",
        "external_models.yaml",
        2,
        "did not find expected node content",
    ),
    "a materialization": ("materializations/more.py", "def x(:\n", "materializations/more.py", 1, "invalid syntax"),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The small project, in memory: no server is needed to read its files."""
    made = small_project.make(tmp_path)
    text = (made / "config.yaml").read_text()
    gateways = re.compile(r"^gateways:.*?(?=^model_defaults:)", re.MULTILINE | re.DOTALL)
    here = "gateways:\n  lake:\n    connection:\n      type: duckdb\n      catalogs: {lake: ':memory:'}\n\n"
    (made / "config.yaml").write_text(gateways.sub(here, text))
    return made


def load(root: Path) -> None:
    with quiet():
        from sqlmesh import Context
        from sqlmesh.core.config import Config
        from sqlmesh.core.config.loader import load_configs

        with environment_kept(), unbroken(root):
            Context(paths=[root], config=load_configs("config", Config, [root], dotenv_path=root / "no.env"))


def test_the_project_loads_when_nothing_is_broken(root: Path) -> None:
    load(root)


@pytest.mark.parametrize("case", CASES)
def test_the_error_names_file_line_and_reason(root: Path, case: str) -> None:
    name, content, file, line, reason = CASES[case]
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError) as raised:
        load(root)
    message = str(raised.value)
    assert "\n" not in message
    assert "\x1b" not in message
    assert message.startswith(f"{file}, line {line}: " if line else file), message
    assert reason in message
    assert len(message) < 500
