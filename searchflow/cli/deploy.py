"""The command `searchflow deploy`: it makes the working tree production, after linter, unit tests, the diff, and a yes."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from searchflow.cli.output import Json, print_json
from searchflow.cli.support import Verbose, run_flow, settings_of_command, start_platform, start_servers
from searchflow.errors import UsageError
from searchflow.settings import Settings
from searchflow.transformation.deployment import Prepared


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: `searchflow deploy --plan` (shows, and changes nothing)")(deploy)


def deploy(
    plan: Annotated[bool, typer.Option("--plan", help="Check and show; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask. For scripts.")] = False,
    back: Annotated[
        bool, typer.Option("--back", help="Promote again the models that were production before these, as they were.")
    ] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make the model files production. The command runs the linter and the unit tests, shows what would change, asks, and
    promotes. Until then, and when a test fails, production stays as it was promoted."""
    settings = settings_of_command()
    if not (plan or yes) and (as_json or not sys.stdin.isatty()):
        raise UsageError("There is no terminal to ask on. Look at `searchflow deploy --plan`, then give --yes.")
    settings = start_servers(settings, existing=True) if plan else start_platform(settings, verbose=verbose)
    prepared = _prepared(settings, back)
    if not as_json:
        _show(prepared)
    if plan or not prepared.differs:
        if as_json:
            print_json(_document(prepared))
        return
    if not yes and not typer.confirm("Promote this to production?", default=False):
        typer.echo("Nothing was changed.")
        return
    result = _promoted(settings, prepared, back, verbose)
    if as_json:
        print_json(_document(prepared) | {"promoted": result})
        return
    typer.echo(f"Promoted: {result['models']} models made in {result['seconds']} s.")
    typer.echo(
        "To go back: `searchflow deploy --back`. The previous models are kept for a week (snapshot_ttl in config.yaml)."
    )


def _prepared(settings: Settings, back: bool) -> Prepared:
    from searchflow.ingestion.worker import utc_now
    from searchflow.transformation import deployment

    try:
        return deployment.prepare(settings, now=utc_now(), back=back)
    except deployment.DeployRefused as refused:
        typer.echo(refused.report, err=True)
        raise


def _promoted(settings: Settings, prepared: Prepared, back: bool, verbose: bool) -> dict[str, Any]:
    def flow() -> Any:
        from flows.promotion import promote

        return promote(digest=prepared.digest, back=back)

    found: dict[str, Any] = run_flow(settings, flow, verbose=verbose)
    return found


def _show(prepared: Prepared) -> None:
    if prepared.tests:
        typer.echo(f"Linter and {prepared.tests} unit tests: passed in {prepared.seconds:.1f} s.")
    if not prepared.differs:
        typer.echo("Nothing to deploy: production is equal to the files.")
        return
    typer.echo(prepared.text)
    if prepared.files:
        typer.echo(f"Beside the models: {', '.join(prepared.files)} changed.")


def _document(prepared: Prepared) -> dict[str, Any]:
    return {
        "differs": prepared.differs,
        "added": prepared.difference.added,
        "changed": prepared.difference.changed,
        "removed": prepared.difference.removed,
        "files": prepared.files,
        "to_make": prepared.to_make,
        "unit_tests": prepared.tests,
        "diff": prepared.text,
    }
