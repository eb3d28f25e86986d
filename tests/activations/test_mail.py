"""E-mail: who is written to, when, and what the letter looks like. Against a real SMTP server."""

from __future__ import annotations

import json
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult

from activations.mail import ledger, overview, templates
from activations.mail.message import one_line
from activations.mail.rules import SendingRules
from activations.mail.smtp import Unreachable
from searchflow.errors import BusyError, ConfigurationError, NegativeAnswer
from searchflow.settings import load_settings
from tests.activations.post import NOW, OUTBOX, Post, Recorder, free_port, serving

pytestmark = pytest.mark.integration
HOUR = timedelta(hours=1)


def test_a_message_goes_once_with_everything_a_reader_and_a_mail_program_need(post: Post) -> None:
    key = post.queue("ana", locale="fr-CA", name="Zoé Côté")
    assert (post.deliver().sent, post.deliver().sent) == (1, 0)
    [letter] = post.recorder.taken
    assert letter["To"].addresses[0].addr_spec == "ana@example.org"
    assert letter["To"].addresses[0].display_name == "Zoé Côté"
    assert letter["From"].addresses[0].addr_spec == "hello@example.com"
    assert str(letter["Subject"]) == "Toujours à la recherche de « hotels in Lisbon » ?"
    assert letter["Message-ID"].endswith("@example.com>")
    assert "ana" not in letter["Message-ID"]
    link = letter["List-Unsubscribe"].strip("<>")
    assert letter["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    plain, html = letter.get_body(("plain",)), letter.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert "https://www.example.com/s?q=hotels%20in%20Lisbon" in plain.get_content()
    assert link in plain.get_content()
    assert link in html.get_content()
    assert post.states() == {key: ("sent", None)}
    assert post.scene.redis.xlen(OUTBOX) == 0  # an address stays no longer than it is needed
    found = overview.overview(post.settings, NOW)
    assert (found.outbox, found.taken, found.untaken) == (1, 1, 0)
    assert [(run["taken"], run["sent"], run["status"]) for run in post.runs()] == [(1, 1, "done")]


def test_what_a_visitor_typed_becomes_neither_a_header_nor_markup(post: Post) -> None:
    evil = '<script>alert(1)</script>\r\nBcc: thief@evil.example\r\n\r\n.\r\n\u202e{{ 7 * 7 }} "><img src=x>'
    post.queue("ana", query=evil, name=evil, destination=evil)
    assert post.deliver().sent == 1
    [letter] = post.recorder.taken
    assert letter.receivers == ["ana@example.org"]  # type: ignore[attr-defined]
    assert letter["Bcc"] is None
    assert "\n" not in str(letter["Subject"])
    html, plain = letter.get_body(("html",)), letter.get_body(("plain",))
    assert html is not None
    assert plain is not None
    assert "<script" not in html.get_content()
    assert "<img" not in html.get_content()
    assert "{{ 7 * 7 }}" in html.get_content()
    assert "\u202e" not in plain.get_content()


def test_who_books_before_the_message_goes_is_not_written_to(post: Post) -> None:
    """Also when the booking is not ingested yet, or was made without a login in a session of theirs."""
    later = NOW - HOUR
    keys = {
        user: post.queue(user) for user in ("ingested", "waiting", "silent", "silently_waiting", "earlier", "other")
    }
    post.event("conversion", "s1", user="ingested", at=later)
    post.booked_in_stream("s2", user="waiting", at=later)
    post.event("search", "s3", user="silent", at=NOW - 5 * HOUR)
    post.event("conversion", "s3", user=None, at=later)
    post.event("click", "s4", user="silently_waiting", at=NOW - 5 * HOUR)
    post.booked_in_stream("s4", user=None, at=later)
    post.event("conversion", "s5", user="earlier", at=NOW - 6 * HOUR)  # before the search
    report = post.deliver()
    assert (report.withdrawn, report.sent) == (4, 2)
    assert sorted(post.receivers()) == ["earlier", "other"]
    assert post.states()[keys["waiting"]] == ("withdrawn", "they booked")


def test_consent_and_suppression_count_until_the_last_moment(post: Post) -> None:
    keys = {user: post.queue(user) for user in ("kept", "refused", "by_id", "by_address", "back", "gone")}
    post.person("refused", consent=False, at=NOW - HOUR)
    assert post.suppress("by_id", " By_Address@Example.ORG", "back") == (3, 0)
    assert post.suppress("by_id") == (0, 1)
    assert post.suppress("back", suppressed=False) == (1, 0)
    post.scene.warehouse.execute("DELETE FROM raw.user_profiles WHERE user_id = 'gone'")
    report = post.deliver()
    assert (report.sent, report.suppressed, report.withdrawn) == (2, 2, 2)
    assert sorted(post.receivers()) == ["back", "kept"]
    assert post.states()[keys["by_address"]] == ("suppressed", "on the suppression list")
    assert post.states()[keys["gone"]] == ("withdrawn", "they no longer agree")
    stored = repr(post.scene.lake("SELECT * FROM ops.email_suppressions"))
    assert "@" not in stored


@pytest.mark.parametrize(
    ("versions", "sent"),
    [
        ([("a", "9", True), ("a", "12", False)], 0),  # the last line by its number
        ([("a", "9", False), ("a", "12", True)], 1),
        ([("a", "1", True), ("b", "1", False)], 0),  # two files of one moment: nothing decides
        ([("b", "1", True), ("a", "1", False)], 0),
        ([("a", "1", True), ("b", "1", True)], 1),
    ],
)
def test_of_profiles_of_one_moment_the_last_line_counts_and_in_doubt_there_is_no_consent(
    post: Post, versions: list[tuple[str, str, bool]], sent: int
) -> None:
    post.queue("ana", agreed=False)
    for batch, line, consent in versions:
        post.scene.warehouse.execute(
            "INSERT INTO raw.user_profiles (user_id, marketing_consent, updated_at, payload, ingested_at, source, "
            "source_position, batch_id) VALUES ('ana', ?, TIMESTAMP '2026-01-01', '{}', TIMESTAMP '2026-01-02', 'test', ?, ?)",
            [consent, line, batch],
        )
    assert post.deliver().sent == sent


def test_an_unsubscribe_link_names_its_person_and_cannot_be_made_up(post: Post) -> None:
    from activations.mail.suppression import token, user_of
    from searchflow.errors import UsageError

    made = token(post.settings, "zoé")
    assert user_of(post.settings, made) == "zoé"
    name, _, signature = made.partition(".")
    for wrong in (
        "",
        "x",
        made[:-1],
        f"{token(post.settings, 'ben').partition('.')[0]}.{signature}",
        f"{name}.é",
        "%.%",
    ):
        with pytest.raises(UsageError, match="token"):
            user_of(post.settings, wrong)


def test_no_user_is_written_to_in_their_night_and_all_are_in_their_day(post: Post) -> None:
    keys = {
        zone: post.queue(user, time_zone=zone)
        for user, zone in (("a", "America/Toronto"), ("b", "Asia/Tokyo"), ("c", "Mars/Olympus"), ("d", None))
    }
    report = post.deliver(NOW)  # 15:00 UTC is 11:00 in Toronto and midnight in Tokyo
    assert (report.sent, report.postponed, report.waiting) == (3, 1, 1)
    assert post.state(keys["Asia/Tokyo"]) == "waiting"  # type: ignore[index]
    assert post.deliver(NOW + 7 * HOUR + timedelta(minutes=59)).sent == 0
    assert post.deliver(NOW + 8 * HOUR).sent == 1  # 08:00 in Tokyo


@pytest.mark.parametrize(
    ("now", "zone", "end"),
    [
        ("2026-03-10 20:59", "UTC", None),
        ("2026-03-10 21:00", "UTC", "2026-03-11 08:00"),
        ("2026-03-11 07:59", "UTC", "2026-03-11 08:00"),
        ("2026-03-08 06:30", "America/Toronto", "2026-03-08 12:00"),  # clocks go forward in this night
        ("2026-11-01 05:30", "America/Toronto", "2026-11-01 13:00"),  # and back in this one
        ("2026-03-10 02:30", "Asia/Kathmandu", None),  # 08:15
    ],
)
def test_quiet_hours_end_at_eight_of_the_persons_own_clock(now: str, zone: str, end: str | None) -> None:
    from datetime import datetime

    found = SendingRules.of(load_settings()).quiet_end(datetime.fromisoformat(now), zone)
    assert found == (datetime.fromisoformat(end) if end else None)


def test_no_user_gets_more_than_the_caps_allow_and_the_newest_search_speaks(post: Post) -> None:
    old = post.queue("ana", searched=NOW - 26 * HOUR, query="old")
    new = post.queue("ana", searched=NOW - 3 * HOUR, query="new", agreed=False)
    report = post.deliver()
    assert (report.sent, report.capped) == (1, 1)
    assert post.states()[old] == ("capped", "no more than 1 in 24 hours")
    assert post.state(new) == "sent"
    for day in (1, 2, 3):
        at = NOW + timedelta(days=day, minutes=1)
        post.queue("ana", searched=at - 3 * HOUR, agreed=False)
        report = post.deliver(at)
        assert (report.sent, report.capped) == ((1, 0) if day < 3 else (0, 1))


def test_what_is_too_old_gone_or_no_message_is_said_and_stops_no_other(post: Post) -> None:
    expired = post.queue("late", searched=NOW - 80 * HOUR)
    lost = post.queue("lost")
    [_, (entry, _)] = post.scene.redis.xrange(OUTBOX)
    for bad in ("", "no json", "[]", '{"idempotency_key": "x"}', json.dumps({"idempotency_key": "\0", "user_id": "u",
                "email": "e", "searched_at": "2026-01-01"})):  # fmt: skip
        post.scene.redis.xadd(OUTBOX, {"data": bad})
    post.scene.redis.xadd(OUTBOX, {"other": "field"})
    for user, address in (
        ("x1", "no address"),
        ("x2", "two@at@signs.org"),
        ("x3", "a@b.org\r\nBcc: c@d.org"),
        ("x4", "@"),
    ):
        post.queue(user, email=address)
    good = post.queue("good", email="björn@exämple.org"), post.queue("fine", email="fine@exämple.org")
    report = post.deliver(limit=0)
    assert report.taken == 14
    post.scene.redis.xdel(OUTBOX, entry)
    report = post.deliver()
    assert (report.sent, report.expired, report.refused) == (1, 1, 6)
    states = post.states()
    assert states[expired] == ("expired", "the search is too long ago")
    assert states[lost] == ("refused", "its entry is gone from the outbox")
    assert states[good[0]] == ("refused", "the address cannot be used")  # needs SMTPUTF8
    assert post.recorder.taken[0].receivers == ["fine@xn--exmple-cua.org"]  # type: ignore[attr-defined]
    assert sum(state == "refused" for state, _ in states.values()) == 6 + 6
    assert post.scene.redis.xlen(OUTBOX) == 0


def test_the_server_decides_now_later_or_never(post: Post) -> None:
    key = post.queue("ana")
    post.recorder.answers = {"RCPT": "450 greylisted ana@example.org"}
    assert (post.deliver().retried, post.state(key)) == (1, "waiting")
    assert post.deliver().retried == 0  # not before its time
    post.recorder.answers = {"DATA": "451 later"}
    post.at += HOUR
    assert (post.deliver().retried, post.state(key)) == (1, "waiting")
    post.recorder.answers = {"DATA": "554 spam from ana@example.org"}
    post.at += 2 * HOUR
    assert post.deliver().refused == 1
    assert post.states()[key] == ("refused", "the server answered 554")
    assert post.recorder.taken == []


def test_trouble_that_is_ours_names_the_variable_and_loses_nothing(post: Post) -> None:
    key = post.queue("ana")
    for changes, variable in (
        ({"smtp_url": None}, "SEARCHFLOW_SMTP_URL"),
        ({"smtp_url": "http://x"}, "SEARCHFLOW_SMTP_URL"),
        ({"smtp_url": "smtp+plain://me:hunter2@127.0.0.1"}, "SEARCHFLOW_SMTP_URL"),
        ({"smtp_url": f"smtp://me:hunter2@127.0.0.1:{post.port}"}, "SEARCHFLOW_SMTP_URL"),  # it has no STARTTLS
        ({"email_from": None}, "SEARCHFLOW_EMAIL_FROM"),
        ({"email_from": "nobody"}, "SEARCHFLOW_EMAIL_FROM"),
        ({"email_unsubscribe_url": "https://x"}, "SEARCHFLOW_EMAIL_UNSUBSCRIBE_URL"),
    ):
        with pytest.raises(ConfigurationError, match=variable) as caught:
            post.deliver(settings=post.configured(**changes))
        assert "hunter2" not in str(caught.value)
    post.recorder.answers = {"MAIL": "553 not you"}
    with pytest.raises(ConfigurationError, match="SEARCHFLOW_EMAIL_FROM"):
        post.deliver()
    for url in ("smtp+plain://127.0.0.1:1", "smtp+plain://no.such.host.invalid"):
        with pytest.raises(Unreachable, match="Nothing is lost"):
            post.deliver(settings=post.configured(smtp_url=url))
    post.recorder.answers = {"RCPT": "421 closing"}
    with pytest.raises(Unreachable, match="421"):
        post.deliver()
    assert post.state(key) == "waiting"
    assert post.runs()[-1]["status"] == "failed"
    post.recorder.answers = {}
    assert post.deliver().sent == 1


def test_one_worker_a_home(post: Post) -> None:
    with ledger.MailLedger(post.settings) as other:
        other.lock()
        with pytest.raises(BusyError, match="Another worker"):
            post.deliver()
    assert post.deliver().sent == 0


def test_an_answer_that_is_lost_is_a_doubt_that_the_servers_log_settles(post: Post, tmp_path: Path) -> None:
    key = post.queue("ana")
    post.recorder.lose_reply = True
    assert post.deliver().held == 1
    post.recorder.lose_reply = False
    assert post.deliver(NOW + HOUR).sent == 0  # not twice
    [held] = overview.overview(post.settings, NOW).held
    assert (held["key"], held["message_id"]) == (key, post.message_ids()[0])
    assert post.scene.redis.xlen(OUTBOX) == 1  # it may have to go again
    decided = overview.from_log(post.settings, post.log(tmp_path / "mail.log"), NOW)
    assert decided == {key: True}
    overview.resolve(post.settings, decided, by="me", now=NOW)
    assert post.state(key) == "sent"
    assert (post.deliver(NOW + 2 * HOUR).sent, post.scene.redis.xlen(OUTBOX)) == (0, 0)
    with pytest.raises(NegativeAnswer, match="in doubt"):
        overview.resolve(post.settings, {key: True}, by="me", now=NOW)


def test_no_address_name_or_query_is_kept_anywhere_but_in_the_outbox(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    post.queue("ana")
    post.queue("bad", email="no address of bad")
    report = post.deliver()
    seen = [repr(report), caplog.text, repr(post.states()), repr(overview.overview(post.settings, NOW))]
    seen += [repr(post.scene.sql("ledger", f"SELECT * FROM email.{table}")) for table in ("messages", "positions")]
    seen += [repr(post.scene.lake(f"SELECT * FROM {table}")) for table in ("ops.email_runs", "ops.email_suppressions")]
    for text in seen:
        assert "example.org" not in text
        assert "Name of" not in text
        assert "Lisbon" not in text
        assert "no address of" not in text


def test_every_template_has_all_parts_in_every_language_and_needs_nothing_from_outside() -> None:
    from activations.mail import example

    settings = load_settings(email_unsubscribe_url="https://www.example.com/out?t={token}")
    for trigger in templates.triggers():
        values = templates.values_of(settings, example.made_up(trigger))
        for locale in ("en-CA", "fr-CA", "fr", "xx", "../..", None):
            shown = templates.render(trigger, values, locale)
            assert shown.language == ("fr" if (locale or "").startswith("fr") else "default")
            assert shown.subject
            assert "Robin" in shown.text
            assert "src=" not in shown.html  # no picture that tells a server who read it
        empty = templates.render(trigger, dict.fromkeys(values, ""), None)
        assert "None" not in empty.text


def test_one_line_keeps_words_of_any_script_and_nothing_that_acts() -> None:
    assert one_line("  hôtel\t à\nParis  ") == "hôtel à Paris"
    assert one_line("東京 🏨") == "東京 🏨"
    assert one_line("a\x1b[31mb\x00\u202ec\u200b") == "a[31mbc"
    assert one_line("x" * 200) == "x" * 119 + "…"
    assert one_line(None) == ""


def certificate(folder: Path) -> tuple[Path, Path]:
    """Of a server at 127.0.0.1, signed by itself."""
    from datetime import UTC, datetime
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - HOUR)
        .not_valid_after(now + HOUR)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "cert.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, secret


def test_a_password_goes_only_to_a_server_with_the_right_certificate(
    post: Post, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, secret = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, secret)
    offered: list[bytes] = []

    def check(server: object, session: object, envelope: object, mechanism: str, data: Any) -> AuthResult:
        offered.append(data.password)
        return AuthResult(success=data.password == b"right", handled=False)

    recorder, port = Recorder(), free_port()
    options = {"tls_context": context, "require_starttls": True, "authenticator": check, "auth_required": True}
    server = serving(recorder, port, **options)
    try:
        post.queue("ana")
        right, wrong = (post.configured(smtp_url=f"smtp://me:{word}@127.0.0.1:{port}") for word in ("right", "wrong"))
        with pytest.raises(ConfigurationError, match="no safe connection"):
            post.deliver(settings=right)
        assert offered == []
        monkeypatch.setenv("SSL_CERT_FILE", str(chain))
        with pytest.raises(ConfigurationError, match="refuses user or password"):
            post.deliver(settings=wrong)
        assert post.deliver(settings=right).sent == 1
    finally:
        server.stop()
    assert len(recorder.taken) == 1
