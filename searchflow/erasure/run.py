"""One erasure from end to end. It may be killed at any moment; the same call continues it.

Other work is hardly disturbed. Ingestion waits for the seconds in which rows are deleted from the raw tables. Models, suites
and syncs wait until the erasure ends. Readers see the newest snapshot throughout. Everything about the person is counted
before anything is removed, and searched for again at the end: the certificate says both.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import date, datetime
from functools import partial
from typing import Any

import duckdb
import psycopg

from searchflow import warehouse
from searchflow.erasure import bus, certificate, databases, files, journal, lake, lake_files, person
from searchflow.erasure.journal import Journal
from searchflow.erasure.place import Finding, Job, Place
from searchflow.errors import BusyError, NegativeAnswer
from searchflow.ingestion import cut, tombstones
from searchflow.ops import audit_log
from searchflow.services import locks, postgres
from searchflow.services.process import locked
from searchflow.settings import Settings

Clock = Callable[[], datetime]
OnStep = Callable[[str], None]


class UnknownPerson(NegativeAnswer):
    """The error when nothing here is about this user."""

    def __init__(self) -> None:
        super().__init__(
            "Nothing here is about this user. Check the id: it is compared exactly, also in upper and lower case."
        )


class Incomplete(NegativeAnswer):
    """The error when something about the person came back or could not be removed."""

    def __init__(self, left: Sequence[Finding]) -> None:
        self.left = list(left)
        places = ", ".join(f"{each.place} {each.what} ({each.count})" for each in left[:5])
        super().__init__(
            f"The erasure is not complete: still in {places}. Run `searchflow forget` with the same user id again."
        )


def places(more: Sequence[Place] = ()) -> list[Place]:
    """Return every kind of place. Those of other packages come before the files of the home."""
    return [lake.Lake(), databases.Databases(), bus.Bus(), *more, files.HomeFiles()]


def look(settings: Settings, user_id: str, *, clock: Clock, more: Sequence[Place] = ()) -> list[Finding]:
    """Return what there is of a person, and remove nothing.

    Raises:
        UnknownPerson: there is nothing about them.
    """
    found = _search(_job_of(settings, user_id, clock()), places(more))
    if not _is_known(found):
        raise UnknownPerson
    return found


def forget(
    settings: Settings,
    user_id: str,
    *,
    clock: Clock,
    more: Sequence[Place] = (),
    on_step: OnStep | None = None,
) -> dict[str, Any]:
    """Remove a person everywhere, for good. Return the certificate, which is also kept as a file.

    Raises:
        UnknownPerson: there is no user of this id, and there was none.
        Incomplete: something is left; call this again.
        BusyError: another erasure is running.
        TransformationFailed: the models could not be made again without the person; call this again.
    """
    with locks.try_advisory_lock(settings, locks.ERASURE) as mine:
        if not mine:
            raise BusyError("Another erasure is running. Wait until it ends, then run the same command again.")
        # This is the lock of models, suites and syncs (flows.support.models_at_rest). A run that began before ends first. No
        # run that begins later comes in between, because runs look for the lock above.
        with locks.advisory_lock(settings, locks.transformation("prod")):
            return _Erasure(settings, user_id, clock, places(more), on_step or (lambda _: None)).run()


class _Erasure:
    def __init__(
        self, settings: Settings, user_id: str, clock: Clock, everywhere: list[Place], on_step: OnStep
    ) -> None:
        self.settings, self.clock, self.places, self.on_step = settings, clock, everywhere, on_step
        self.subject = certificate.subject_of(settings, user_id)
        self.user_id = user_id
        self.again = journal.load(settings, self.subject)

    def run(self) -> dict[str, Any]:
        notes = self.again or self._begin()
        if notes is None:
            known = certificate.of_subject(self.settings, self.subject)
            if known is None:
                raise UnknownPerson
            return known
        job = Job(self.settings, notes.erasure_id, notes.person, datetime.fromisoformat(notes.began_at), notes.facts)
        self._step(notes, job, "list the person and delete raw rows", lambda: self._let_go(notes, job), always=True)
        self._step(notes, job, "drain the streams", lambda: bus.drain(job, self.clock), always=True)
        for place in self.places:
            self._step(notes, job, f"erase from {place.name}", partial(place.erase, job), always=True)
        self._step(notes, job, "make the models again", lambda: lake.remake_models(job, self.clock), always=True)
        self._step(notes, job, "rewrite files and expire snapshots", lambda: lake_files.rewrite_files(job), always=True)
        # The catalog is rewritten once more: rows that listed the lake's files were deleted just now.
        self._step(notes, job, "rewrite the catalog", lambda: self._rewrite_catalog(job), always=True)
        self._step(notes, job, "drain the streams again", lambda: bus.drain(job, self.clock), always=True)
        self._step(notes, job, "rewrite the append-only file", lambda: bus.forget_commands(job), always=True)
        self._step(notes, job, "remove old log segments", lambda: databases.forget_write_ahead_log(job), always=True)
        self.on_step("look everywhere again")
        # Ingestion refuses what producers send at this moment, whenever it is read.
        left = [each for each in _search(job, self.places) if not bus.is_on_its_way(each)]
        left += lake_files.search_files(job)
        if left:
            raise Incomplete(left)
        return self._certify(notes, job)

    def _begin(self) -> Journal | None:
        """Count what there is of the person and begin the notes. Return None when there is nothing."""
        self.on_step("look everywhere")
        now = self.clock()
        job = _job_of(self.settings, self.user_id, now)
        found = _search(job, self.places)
        if not _is_known(found):
            return None
        notes = Journal(str(uuid.uuid4()), now.isoformat(), job.person, found)
        notes.save(self.settings, self.subject)
        return notes

    def _let_go(self, notes: Journal, job: Job) -> None:
        """Put the person on the list and delete their rows while no commit can happen. The rows are looked up before."""
        reach = lake.reach_of_models(job)
        with (
            warehouse.connect(self.settings) as connection,
            locked(self.settings, "transformation", wait=True),  # models lose their rows in the same commit
        ):
            since = cut.take(self.settings, self.clock)
            self._know(notes, job, connection)
            rows = lake.look_up(connection, job, reach)
            with cut.commits_held(self.settings) as ledger:
                before = job.person
                self._know(notes, job, connection)
                if job.person == before:
                    lake.add_newer(connection, job, rows, since)
                else:  # more identifiers came in meanwhile
                    rows = lake.look_up(connection, job, reach)
                rows.days = sorted({*rows.days, *map(date.fromisoformat, notes.days)})
                notes.days = [day.isoformat() for day in rows.days]
                notes.save(self.settings, self.subject)
                self._list(ledger, job)
                lake.erase_raw(connection, job, rows, self.clock())

    def _know(self, notes: Journal, job: Job, connection: duckdb.DuckDBPyConnection) -> None:
        """Gather the person's identifiers, and keep those that a killed run gathered."""
        notes.person = job.person = notes.person.joined(person.find(connection, self.user_id))
        job.__dict__.pop("terms", None)  # the cached terms were made from the person

    def _list(self, ledger: psycopg.Connection, job: Job) -> None:
        """Put the person on the list of forgotten people."""
        listed = {
            tombstones.USER: [self.user_id],
            tombstones.SESSION: job.person.all_sessions,
            tombstones.EMAIL: job.person.emails,
        }
        tombstones.add(self.settings, ledger, listed, job.erasure_id, job.now)

    def _step(self, notes: Journal, job: Job, name: str, work: Callable[[], None], *, always: bool = False) -> None:
        """Do a step and note it. With `always`, repeat it although it is done: it is cheap when nothing is left to do."""
        if name in notes.done and not always:
            return
        self.on_step(name)
        work()
        if name not in notes.done:
            notes.done.append(name)
        notes.save(self.settings, self.subject)

    def _rewrite_catalog(self, job: Job) -> None:
        databases.rewrite(job, "catalog", postgres.conninfo(self.settings, "catalog"))

    def _certify(self, notes: Journal, job: Job) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "certificate": "erasure of a person",
            "version": 1,
            "erasure_id": notes.erasure_id,
            "subject": self.subject,
            "began_at": notes.began_at,
            "completed_at": self.clock().isoformat(),
            "found": [{"place": each.place, "what": each.what, "count": each.count} for each in notes.found],
            "found_again": 0,
            "identifiers": {
                "sessions": len(job.person.sessions),
                "sessions shared with others": len(job.person.shared),
                "events": len(job.person.events),
                "addresses": len(job.person.emails),
                "addresses that others have too": len(job.person.kept_emails),
            },
            "done": dict(sorted(job.facts.items())),
            "left_to_others": sorted({*job.left, *_plainly(job)}),
        }
        document = certificate.signed(self.settings, facts)
        certificate.keep(self.settings, document)
        rows = sum(each.count for each in notes.found)
        detail = f"erasure {notes.erasure_id}, certificate {document['sha256']}"
        audit_log.append(self.settings, "erase", "a person", rows=rows, detail=detail)
        journal.remove(self.settings, self.subject)
        return document


def _job_of(settings: Settings, user_id: str, now: datetime) -> Job:
    with warehouse.connect(settings, read_only=True) as connection:
        return Job(settings, "", person.find(connection, user_id), now)


def _plainly(job: Job) -> list[str]:
    if not job.terms.plain:
        return []
    return [
        "texts (logs, reports) that hold the user id as a plain word or number: "
        "they were searched for the person's other identifiers only"
    ]


def _is_known(found: Sequence[Finding]) -> bool:
    """Return True when a person was found. A word that only logs and reports hold is not a user id."""
    return any(not (each.place == files.NAME or each.what.startswith(("ops.", "prefect."))) for each in found)


def _search(job: Job, everywhere: Sequence[Place]) -> list[Finding]:
    return [finding for place in everywhere for finding in place.search(job)]
