"""The documentation check finds what does not exist, and leaves alone what is not ours."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from searchflow.devtools import docs, markdown, tables
from searchflow.devtools.commands import simple_commands
from searchflow.settings import ROOT, Settings


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small repository with the pages on which tables stand."""
    (tmp_path / "models" / "marts").mkdir(parents=True)
    (tmp_path / "models" / "marts" / "dim_users.sql").write_text(
        "/* Users: one row per user. And more. */\nMODEL (\n  name marts.dim_users,\n  kind FULL\n);\n"
    )
    types = Path("searchflow") / "event_types"
    shutil.copytree(ROOT / types, tmp_path / types, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "prefect.yaml").write_text(
        "deployments:\n  - {name: maintain, entrypoint: 'flows.maintenance:maintain', description: Small.,\n"
        "     schedules: [{interval: 3600}]}\n"
    )
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    for name, (place, _) in tables.TABLES.items():
        before = (tmp_path / place).read_text() if (tmp_path / place).exists() else "# Page\n"
        (tmp_path / place).write_text(f"{before}\n<!-- made:{name} -->\n{tables.END}\n")
    (tmp_path / "Makefile").write_text("install:\n\ttrue\ndemo: install ## Run\n\ttrue\nVENV := x\n")
    tables.write_tables(tmp_path)
    return tmp_path


def said(repository: Path, text: str) -> list[str]:
    """What is said about a README with this text."""
    (repository / "README.md").write_text(text)
    return docs.problems(repository)


def test_a_page_that_agrees_with_the_code_has_no_problem(repository: Path) -> None:
    text = """# Title

See [the models](docs/reference/models.md#page), [the top](#title), [elsewhere](https://example.org/x) and
`models/marts/dim_users.sql`, `models/marts/<table>.sql`, `models/*/dim_users.sql`, `dim_users.sql`, `deploy/`,
`.searchflow/reports/quality/index.html`, `./events`, `ad_spend.csv`, `flows.ingestion:ingest` and
`marts.dim_users`.

```bash
make install demo  # twice
searchflow demo --days 30 --json && searchflow dlq list --status=open
SEARCHFLOW_HOME=/srv/data .venv/bin/searchflow query "SELECT '--not-an-option'" > out.json
searchflow ingest --from ./events
sqlmesh --ignore-warnings plan dev
cat <<'EOF' > events.jsonl
searchflow is not a command here
EOF
```

```text
searchflow nonsense is output
```

`searchflow activate SYNC --dry-run`, `searchflow …`, `SEARCHFLOW_REDIS_URL`, `SEARCHFLOW_*`.
"""
    assert said(repository, text) == []


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("[a](docs/nothing.md)", "README.md:3: the link docs/nothing.md leads to nothing"),
        ("![a](docs/images/nothing.png)", "README.md:3: the link docs/images/nothing.png leads to nothing"),
        ("[a](#nowhere)", "README.md:3: the link #nowhere names a heading that README.md does not have"),
        ("`models/marts/dim_user.sql`", "README.md:3: there is no models/marts/dim_user.sql in the repository"),
        ("`models/marts/*.py`", "README.md:3: there is no models/marts/*.py in the repository"),
        ("`warehouses.py`", "README.md:3: there is no warehouses.py in the repository"),
        ("`make dmeo`", "README.md:3: there is no target `make dmeo`; did you mean demo?"),
        ("`searchflow statsu`", "README.md:3: there is no command `searchflow statsu`; did you mean status?"),
        ("`searchflow dlq shwo 3f`", "README.md:3: there is no command `searchflow dlq shwo`; did you mean show?"),
        ("`searchflow up --rats 3`", "README.md:3: `searchflow up` has no option --rats; did you mean --rate?"),
        ("`sqlmesh paln dev`", "README.md:3: there is no command `sqlmesh paln`; did you mean plan?"),
        ("`SEARCHFLOW_REDIS_URI`", "README.md:3: nothing reads the variable SEARCHFLOW_REDIS_URI"),
        ("```bash\nsearchflow \\\n  divine\n```", "README.md:4: there is no command `searchflow divine`"),
        ("```sh\ncp models/marts/dim_user.sql x\n```", "README.md:4: there is no models/marts/dim_user.sql in the"),
    ],
)
def test_what_does_not_exist_is_named_with_its_line(repository: Path, wrong: str, problem: str) -> None:
    found = said(repository, f"# Title\n\n{wrong}\n")
    assert len(found) == 1
    assert found[0].startswith(problem)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("Some [words of a\nlink](docs/nothing.md) here", "README.md:3: the link docs/nothing.md"),
        ("One line\nand `make\ndmeo` over two,\nthen [a](docs/nothing.md)", "README.md:6: the link docs/nothing.md"),
        ("[a][there]\n\n[there]: docs/nothing.md", "README.md:3: the link docs/nothing.md"),
        ("- item\n\n  ```bash\n  searchflow divine\n  ```", "README.md:6: there is no command `searchflow divine`"),
        ("| a | b |\n| --- | --- |\n| x | `make dmeo` |", "README.md:5: there is no target `make dmeo`"),
        ("> [a](docs/nothing.md)", "README.md:3: the link docs/nothing.md"),
        ('<p>\n<img src="docs/nothing.png">\n</p>', "README.md:4: the link docs/nothing.png"),
    ],
)
def test_a_page_is_read_as_markdown_is(repository: Path, wrong: str, problem: str) -> None:
    found = said(repository, f"# Title\n\n{wrong}\n")
    assert any(line.startswith(problem) for line in found), found


def test_an_indented_block_is_output_and_a_link_in_code_is_none(repository: Path) -> None:
    assert said(repository, "# Title\n\n    [a](docs/nothing.md) `make dmeo`\n\n``[a](docs/nothing.md)``\n") == []


def test_a_setting_or_model_that_a_table_misses_is_named(repository: Path) -> None:
    settings = repository / "docs" / "reference" / "settings.md"
    lines = settings.read_text().splitlines()
    removed = next(line for line in lines if "`SEARCHFLOW_INLINE_ROWS`" in line)
    settings.write_text("\n".join(line for line in lines if line != removed))
    (repository / "models" / "marts" / "dim_places.sql").write_text(
        "/* Places: one row per place. */ MODEL (kind VIEW);"
    )
    found = docs.problems(repository)
    assert [line.split(":")[0] for line in found] == ["docs/reference/models.md", "docs/reference/settings.md"]
    assert "marts.dim_places" in found[0]
    assert "SEARCHFLOW_INLINE_ROWS" in found[1]
    assert len(tables.write_tables(repository)) == 2
    assert docs.problems(repository) == []


def test_a_page_without_its_table_is_a_problem(repository: Path) -> None:
    (repository / "docs" / "reference" / "commands.md").write_text("# Commands\n")
    assert docs.problems(repository) == [
        "docs/reference/commands.md:1: the table `<!-- made:servers -->` ... `<!-- made:end -->` is missing",
        "docs/reference/commands.md:1: the table `<!-- made:commands -->` ... `<!-- made:end -->` is missing",
    ]


def test_tables_hold_every_setting_model_and_deployment(repository: Path) -> None:
    settings = tables.settings_table(repository)
    assert all(f"`{tables.variable(name)}`" in settings for name in Settings.model_fields)
    assert "| [`marts.dim_users`](../../models/marts/dim_users.sql) | full | Users: one row per user |" in (
        tables.models_table(repository)
    )
    assert "| `maintain` | `flows.maintenance:maintain` | every hour | Small. |" in tables.deployments_table(repository)


def test_shell_lines_are_taken_apart_as_a_shell_does() -> None:
    line = 'A=1 searchflow query "SELECT 1; SELECT 2" --json 2> log | head && make X=2 demo  # make nothing'
    assert simple_commands(line) == [
        ["searchflow", "query", "SELECT 1; SELECT 2", "--json", "2"],
        ["head"],
        ["make", "X=2", "demo"],
    ]


def test_headings_are_reached_as_on_github() -> None:
    assert markdown.anchor("What you get: a `demo`, and more!") == "what-you-get-a-demo-and-more"


def test_a_page_that_the_index_does_not_list_is_named(repository: Path) -> None:
    index = repository / "docs" / "index.md"
    pages = [path.relative_to(repository / "docs").as_posix() for path in (repository / "docs").rglob("*.md")]
    index.write_text("# Index\n\n" + "".join(f"- [{page}]({page}#page)\n" for page in pages))
    assert docs.problems(repository) == []
    (repository / "docs" / "alone.md").write_text("# Alone\n")
    assert docs.problems(repository) == ["docs/index.md:1: docs/alone.md is not listed"]
