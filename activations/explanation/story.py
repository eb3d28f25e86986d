"""The whole story of a user: destinations, rules, marts, sessions, raw events. Reads one snapshot; writes nothing."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import duckdb

from activations.explanation import events, rules
from activations.explanation.syncs import Part, part
from activations.explanation.tables import of_user, rows
from activations.gate import latest_verdicts
from activations.mail.ledger import MailLedger
from activations.mail.suppression import LISTED
from activations.mail.worker import SYNC as EMAILS
from activations.sync_files import load_syncs
from searchflow import domain, warehouse
from searchflow.errors import NegativeAnswer
from searchflow.ops import audit_log
from searchflow.privacy.masking import pseudonym
from searchflow.settings import Settings
from searchflow.transformation import promotions

USERS, SEGMENTS, ABANDONED = "marts.dim_users", "marts.mart_user_segments", "marts.mart_abandoned_searches"
SHOWN_LOOKS = 5


class UnknownUser(NegativeAnswer):
    """Error: nothing is known of this user anywhere."""

    def __init__(self, user: str) -> None:
        super().__init__(
            f"Nothing is known of a user {user!r}: no event, no profile, nothing sent. Check the id; "
            '`searchflow query "SELECT user_id FROM marts.dim_users LIMIT 5"` shows how ids look.'
        )


@dataclass(frozen=True)
class Story:
    """The content that `searchflow explain user` shows."""

    user_id: str
    user: dict[str, Any] | None  # of dim_users
    segment: dict[str, Any] | None
    segment_rules: list[rules.Step]
    syncs: list[Part]
    messages: list[dict[str, Any]]  # e-mail, whatever became of it
    totals: dict[str, int]
    sessions: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the story as `--json` writes it."""
        return asdict(self)


def explain(settings: Settings, user: str, *, sessions: int = 3, personal: bool = False) -> Story:
    """Tell the story of a user. The look is entered in the audit log, under the user's pseudonym.

    Raises:
        UnknownUser: nothing is known of this user.
    """
    shown = "with personal values" if personal else "masked"
    audit_log.append(settings, "read", USERS, rows=1, detail=f"explain user {pseudonym(settings, user)}, {shown}")
    with closing(warehouse.connect(settings, read_only=True)) as connection, warehouse.transaction(connection):
        totals = events.counts(connection, user)
        messages = _messages(settings, user)
        parts = _parts(settings, connection, user, personal=personal)
        if not any(totals.values()) and not messages and not any(each.sent for each in parts):
            raise UnknownUser(user)
        known = next(iter(of_user(connection, USERS, user, personal=True)), None)
        segment = next(iter(of_user(connection, SEGMENTS, user, personal=personal)), None)
        steps = _segment_rules(connection, known, segment)
        return Story(
            user,
            next(iter(of_user(connection, USERS, user, personal=personal)), None),
            segment,
            steps,
            [replace(each, why=_why(connection, each, user, known, steps, messages)) for each in parts],
            messages,
            totals,
            events.sessions(connection, user, sessions, personal=personal),
        )


def _parts(settings: Settings, connection: duckdb.DuckDBPyConnection, user: str, *, personal: bool) -> list[Part]:
    verdicts = latest_verdicts(connection)
    found = (part(settings, connection, sync, user, verdicts, personal=personal) for sync in load_syncs().values())
    return [each for each in found if each is not None]


def _messages(settings: Settings, user: str) -> list[dict[str, Any]]:
    with MailLedger(settings) as ledger:
        ledger.prepare()
        return ledger.of_user(user)


def _segment_rules(
    connection: duckdb.DuckDBPyConnection, user: dict[str, Any] | None, segment: dict[str, Any] | None
) -> list[rules.Step]:
    if user is None or segment is None:
        return []
    told = domain.load(promoted=promotions.variables(connection), connection=connection)
    return rules.segment(user, segment["segment_as_of"], told)


def _why(
    connection: duckdb.DuckDBPyConnection,
    found: Part,
    user: str,
    known: dict[str, Any] | None,
    steps: list[rules.Step],
    messages: list[dict[str, Any]],
) -> list[str]:
    """Return the rule behind a sync's rows, in words."""
    if known is None:
        return ["no model knows them yet: `searchflow transform` reads what was ingested since"]
    if found.sync == EMAILS:
        return _why_email(connection, found, user, known, messages)
    if found.model == "activation.act_recommendations":
        return _why_recommended(connection, user)
    if found.model == "activation.act_crm_user_segments" and steps:
        return [f"segment {steps[-1].rule}: {steps[-1].why}"]
    return []


def _why_email(
    connection: duckdb.DuckDBPyConnection,
    found: Part,
    user: str,
    known: dict[str, Any],
    messages: list[dict[str, Any]],
) -> list[str]:
    said = []
    for row in of_user(connection, ABANDONED, user, personal=False):
        said.append(
            f"searched {row['searched_at']:%Y-%m-%d %H:%M} ({row['hours_since_search']:.1f} hours before the models ran; "
            f"1 to {domain.load().abandoned.total_seconds() / 3600:.0f} count) and did not book since; "
            f"raw search {row['search_event_id']}"
        )
    if not said:
        said.append("no search of 1 to 48 hours ago that was left without a booking")
    consent = {True: "they agreed to be written to", False: "they refused to be written to"}
    said.append(consent.get(known["marketing_consent"], "they were never asked whether we may write to them"))
    if not known["email"]:
        said.append("no address is known")
    if rows(connection, f"SELECT 1 FROM ({LISTED}) WHERE user_id = ?", [user]):
        said.append("on the suppression list")
    if found.held_out:
        said.append("held out, to see what the messages change (`holdout` in the sync file)")
    said += [f"message {each['key']}: {each['state']}{_because(each['reason'])}" for each in messages]
    return said


def _because(reason: str | None) -> str:
    return f" ({reason})" if reason else ""


def _why_recommended(connection: duckdb.DuckDBPyConnection, user: str) -> list[str]:
    looks = rows(
        connection,
        "SELECT destination, sum(clicks)::BIGINT AS clicks, max(searched_at) AS last_at, sum(conversions)::BIGINT AS booked "
        "FROM marts.fct_search_funnel WHERE user_id = ? AND destination IS NOT NULL AND NOT coalesce(is_bot, FALSE) "
        "AND searched_at >= (SELECT max(segment_as_of) FROM marts.mart_user_segments) - INTERVAL 90 DAY "
        "GROUP BY destination ORDER BY last_at DESC LIMIT ?",
        [user, SHOWN_LOOKS],
    )
    if not looks:
        return ["looked at no destination in the last 90 days: the popular list is theirs"]
    said = [_look(each) for each in looks]
    return [*said, "and at what visitors with the same interests looked at (marts.mart_recommendations)"]


def _look(row: dict[str, Any]) -> str:
    clicks = f"{row['clicks']:,} click{'' if row['clicks'] == 1 else 's'}"
    booked = ", booked it: not offered again" if row["booked"] else ""
    return f"looked at {row['destination']} ({clicks}, last {row['last_at']:%Y-%m-%d}{booked})"
