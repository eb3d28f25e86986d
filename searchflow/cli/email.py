"""The commands of e-mail: delivery, the state of messages, the suppression list, and previews of templates."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searchflow import actor
from searchflow.cli.output import Json, console, print_json, print_table, safe
from searchflow.cli.support import Verbose, run_flow, settings_of_command, start_servers, with_servers
from searchflow.errors import UsageError
from searchflow.ingestion.worker import utc_now
from searchflow.settings import Settings

if TYPE_CHECKING:
    from activations.mail.message import Message

app = typer.Typer(help="E-mail: delivery from the outbox, the suppression list, templates.", no_args_is_help=True)
EXIT_NO = 1
TEN_YEARS = 10 * 365 * 86400.0

Who = Annotated[list[str] | None, typer.Argument(help="User ids or e-mail addresses.")]
Token = Annotated[str | None, typer.Option(help="The token of an unsubscribe link.")]
File = Annotated[
    Path | None, typer.Option("--from", help="A file with one user id or address on each line.", exists=True)
]


@app.command(epilog="Example: `searchflow email deliver --follow`")
def deliver(
    follow: Annotated[bool, typer.Option("--follow", help="Continue until stopped.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Send at most this many messages, to begin carefully.")
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Deliver over SMTP the messages of the outbox that may go now, each once."""
    settings = settings_of_command()
    if follow and limit is not None:
        raise UsageError("--limit is for one run. Leave out --follow, or --limit.")
    from activations.mail.worker import require_configured

    require_configured(settings)

    def flow() -> Any:
        from flows.delivery import deliver as run

        return run(follow_seconds=TEN_YEARS if follow else 0.0, limit=limit)

    result = run_flow(settings, flow, verbose=verbose)
    if as_json:
        print_json(result)
        return
    print_table("E-mail", [{name: count for name, count in result.items() if name != "status"}])
    if result["held"]:
        typer.echo("Messages in doubt: `searchflow email status` lists them.")


@app.command(epilog="Example: `searchflow email status --json`")
def status(as_json: Json = False) -> int:
    """Show what became of messages, and which are in doubt. Exit status 1 when any message is in doubt."""
    from activations.mail import overview

    settings = _running()
    found = overview.overview(settings, utc_now())
    if as_json:
        print_json(asdict(found))
    else:
        print_table("Messages", [found.states])
        print_table("Why", found.reasons)
        if found.held:
            print_table("In doubt: did the server take them?", found.held)
            typer.echo(
                "Decide with `searchflow email resolve KEY --sent` or `--not-sent`, or with the server's log: `--log FILE`."
            )
        typer.echo(found.sentence())
    return EXIT_NO if found.held else 0


@app.command(epilog="Example: `searchflow email resolve --log /var/log/mail.log`")
def resolve(
    keys: Annotated[list[str] | None, typer.Argument(help="Keys of messages in doubt.")] = None,
    sent: Annotated[
        bool | None,
        typer.Option("--sent/--not-sent", help="The server took them, or it did not and they are sent again."),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            help="The server's complete log of that time, as text: messages in doubt whose Message-ID is in it were taken, "
            "the others are sent again.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Decide what became of messages in doubt: those that were sent are done, the others are sent again."""
    if (log is None) == (not keys) or (log is None) == (sent is None):
        raise UsageError("Name keys with --sent or --not-sent, or give the server's --log.")
    from activations.mail import overview

    settings = _started()
    decided = overview.from_log(settings, log, utc_now()) if log is not None else dict.fromkeys(keys or (), bool(sent))
    overview.resolve(settings, decided, by=actor.user(), now=utc_now())
    taken = sum(decided.values())
    if as_json:
        print_json({"sent": taken, "not_sent": len(decided) - taken})
    else:
        typer.echo(f"{taken:,} had been sent; {len(decided) - taken:,} had not, and will be sent.")


@app.command(epilog="Example: `searchflow email suppress u-4711 someone@example.com --reason complaint`")
def suppress(
    who: Who = None,
    token: Token = None,
    file: File = None,
    reason: Annotated[str, typer.Option(help="The reason, kept with the entry; write no address here.")] = "asked",
    as_json: Json = False,
) -> None:
    """Put people on the suppression list: they get no more messages, not even those that are already in the outbox."""
    _change(_named(who, token, file), suppressed=True, reason=reason, as_json=as_json)


@app.command(epilog="Example: `searchflow email unsuppress u-4711 --reason 'asked for it in writing'`")
def unsuppress(
    who: Who = None,
    token: Token = None,
    file: File = None,
    reason: Annotated[str, typer.Option(help="The reason, kept with the entry.")] = "asked",
    as_json: Json = False,
) -> None:
    """Take people off the suppression list. Messages to them still need their consent."""
    _change(_named(who, token, file), suppressed=False, reason=reason, as_json=as_json)


@app.command("suppressed", epilog="Example: `searchflow email suppressed --json`")
def list_suppressed(as_json: Json = False) -> None:
    """List who is on the suppression list: user ids, and addresses as keyed hashes."""
    from activations.mail import suppression

    rows = suppression.listed(with_servers(settings_of_command()))
    if as_json:
        print_json(rows)
    else:
        print_table("Suppressed", rows, columns=("user_id", "address_hash", "reason", "changed_at", "changed_by"))


@app.command(epilog="Example: `searchflow email preview abandoned_search --locale fr-CA --out message.html`")
def preview(
    template: Annotated[str, typer.Argument(help="A folder of activations/mail/templates/.")] = "abandoned_search",
    user: Annotated[
        str | None, typer.Option(help="Show this person's newest message (personal data: the audit log notes it).")
    ] = None,
    locale: Annotated[str | None, typer.Option(help="The language of the message, such as fr-CA.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the HTML part to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Show a message as it would be sent. This sends nothing."""
    from activations.mail import example, templates

    settings = settings_of_command()
    message: Message = example.made_up(template) if user is None else example.of_user(_running(), user, template)
    shown = templates.render(template, templates.values_of(settings, message), locale or message.document.locale)
    if out is not None:
        try:
            out.write_text(shown.html, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{out} cannot be written ({error.strerror}). Name another file.") from None
    if as_json:
        print_json(asdict(shown))
        return
    console.print(safe(f"Language  {shown.language}"), safe(f"Subject   {shown.subject}"), sep="\n", soft_wrap=True)
    console.print()
    for line in shown.text.splitlines():
        console.print(safe(line), soft_wrap=True)
    if out is not None:
        typer.echo(f"The HTML part is in {out}.")


def _started() -> Settings:
    return start_servers(settings_of_command(), existing=True)


def _running() -> Settings:
    return with_servers(settings_of_command(), streams=True)


def _named(who: list[str] | None, token: str | None, file: Path | None) -> list[str]:
    names = [*(who or ()), *(file.read_text(encoding="utf-8").splitlines() if file is not None else ())]
    if token is not None:
        from activations.mail import suppression

        names.append(suppression.user_of(settings_of_command(), token))
    if not any(name.strip() for name in names):
        raise UsageError("Name the people: user ids, addresses, --token, or --from FILE.")
    return names


def _change(who: list[str], *, suppressed: bool, reason: str, as_json: bool) -> None:
    from activations.mail import suppression

    changed, same = suppression.change(
        _started(), who, suppressed=suppressed, reason=reason, by=actor.user(), now=utc_now()
    )
    if as_json:
        print_json({"changed": changed, "unchanged": same})
    else:
        verb = "put on" if suppressed else "taken off"
        typer.echo(f"{changed:,} {verb} the suppression list; {same:,} {'were' if suppressed else 'were not'} on it.")
