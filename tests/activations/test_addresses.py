"""A domain beyond ASCII is the one that IDNA 2008 means, wherever an address is used; or it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from activations.mail.compose import Sender
from activations.mail.smtp import Server
from activations.mail.suppression import address_hash, former_hash
from searchflow import addresses
from searchflow.errors import ConfigurationError
from searchflow.settings import load_settings
from tests.activations.post import Post


@pytest.mark.parametrize(
    ("domain", "wire"),
    [
        ("straße.example", "xn--strae-oqa.example"),  # IDNA 2003: strasse.example
        ("FAẞ.example", "xn--fa-hia.example"),
        ("ς.example", "xn--3xa.example"),  # IDNA 2003 makes a sigma at the end another letter
        ("Zürich.example", "xn--zrich-kva.example"),
        ("Zu\u0308rich.example", "xn--zrich-kva.example"),
        ("例え.jp", "xn--r8jz45g.jp"),
        ("example.com", "example.com"),
        ("xn--strae-oqa.example", "xn--strae-oqa.example"),
    ],
)
def test_a_domain_is_encoded_by_idna_2008(domain: str, wire: str) -> None:
    assert addresses.ascii_domain(domain) == wire


@pytest.mark.parametrize(
    "domain", ["☃.example", "💩.example", "a\u200db.example", "-ä.example", "ä..example", "ä_b.example"]
)
def test_a_domain_that_idna_2008_does_not_allow_is_refused(domain: str) -> None:
    with pytest.raises(addresses.NoDomain):
        addresses.ascii_domain(domain)


@given(st.text(alphabet="aßsςσéü-", min_size=1, max_size=12).map(lambda text: f"{text}ß"))
def test_encoding_loses_nothing(name: str) -> None:
    """What is encoded decodes to the same letters: no two domains become one."""
    import idna

    try:
        wire = addresses.ascii_domain(f"{name}.example")
    except addresses.NoDomain:
        return
    assert idna.decode(wire) == f"{name}.example".lower()


def test_mail_goes_to_the_domain_that_is_meant(post: Post) -> None:
    keys = {
        address: post.queue(user, email=address)
        for user, address in (("a", "a@straße.example"), ("b", "b@strasse.example"), ("c", "c@☃.example"))
    }
    report = post.deliver()
    assert (report.sent, report.refused) == (2, 1)
    domains = {str(letter["To"].addresses[0].addr_spec) for letter in post.recorder.taken}
    assert domains == {"a@xn--strae-oqa.example", "b@strasse.example"}
    assert post.states()[keys["c@☃.example"]] == ("refused", "the address cannot be used")


def test_the_suppression_list_knows_an_address_in_each_spelling(post: Post) -> None:
    assert post.suppress("A@STRASSE.example", "b@xn--zrich-kva.example") == (2, 0)
    for user, address in (("a", "a@straße.example"), ("b", "B@Zürich.example"), ("c", "a@strasse.example")):
        post.queue(user, email=address)
    # An earlier release listed a@straße.example and a@strasse.example alike: who may be meant gets no message.
    report = post.deliver()
    assert (report.suppressed, report.sent) == (3, 0)
    assert post.suppress("b@Zürich.example", suppressed=False) == (1, 0)


def test_an_entry_of_an_earlier_release_counts_and_can_be_taken_off(post: Post) -> None:
    former = former_hash(post.settings, "a@Zürich.example")
    assert former != address_hash(post.settings, "a@Zürich.example")
    post.scene.warehouse.execute(
        "INSERT INTO ops.email_suppressions VALUES (NULL, ?, TRUE, 'asked', TIMESTAMP '2026-01-01', 'test')", [former]
    )
    assert post.suppress("a@Zürich.example") == (0, 1)
    post.queue("a", email="a@zürich.example")
    assert post.deliver().suppressed == 1
    assert post.suppress("a@Zürich.example", suppressed=False) == (1, 0)
    post.queue("b", email="a@Zürich.example")
    assert post.deliver().sent == 1


def test_the_sender_and_the_mail_server_are_encoded_alike(tmp_path: Path) -> None:
    settings = load_settings(
        home=tmp_path, email_from="Reise <hallo@straße.example>", smtp_url=SecretStr("smtp+plain://post.straße.example")
    )
    assert Sender.of(settings).address == "hallo@xn--strae-oqa.example"
    assert Server.of(settings).host == "post.xn--strae-oqa.example"
    with pytest.raises(ConfigurationError, match="IDNA 2008"):
        Server.of(load_settings(home=tmp_path, smtp_url=SecretStr("smtp+plain://☃.example")))
    with pytest.raises(ConfigurationError, match="SEARCHFLOW_EMAIL_FROM"):
        Sender.of(load_settings(home=tmp_path, email_from="hello@☃.example"))


def test_nothing_uses_pythons_own_codec() -> None:
    import re

    from searchflow.settings import ROOT

    folders = ("searchflow", "activations", "dashboards", "generators", "flows", "expectations")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert [path for path in paths if re.search(r"encode\(\s*[\"']idna", path.read_text())] == []
