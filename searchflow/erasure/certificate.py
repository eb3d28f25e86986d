"""The certificate of an erasure: what was where, how much, when, and proofs that no one changed it since.

It names no person. The person is `subject`, a keyed digest: only the holder of the home's key can tell whether a certificate
is about a user id. The certificate is signed with that key, and its SHA-256 stands in the audit log.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path
from typing import Any

import msgspec

from searchflow import keys
from searchflow.settings import Settings


def subject_of(settings: Settings, user_id: str) -> str:
    """Return the keyed digest under which a certificate is about a user."""
    key = keys.derived(settings, "certificates")
    return hmac.new(key, user_id.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def signed(settings: Settings, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the certificate with its hash and signature."""
    digest = hashlib.sha256(_bytes(facts)).hexdigest()
    return facts | {"sha256": digest, "signature": _signature(settings, digest)}


def is_genuine(settings: Settings, certificate: dict[str, Any]) -> bool:
    """Return True when a certificate is unchanged since it was signed with this home's key."""
    facts = {name: value for name, value in certificate.items() if name not in ("sha256", "signature")}
    digest = hashlib.sha256(_bytes(facts)).hexdigest()
    given = str(certificate.get("signature", ""))
    return digest == certificate.get("sha256") and hmac.compare_digest(_signature(settings, digest), given)


def keep(settings: Settings, certificate: dict[str, Any]) -> Path:
    """Write a certificate into `reports/erasures/`, and return the file."""
    path = _folder(settings) / f"{certificate['erasure_id']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(certificate), indent=2) + b"\n")
    partial.replace(path)
    return path


def of_subject(settings: Settings, subject: str) -> dict[str, Any] | None:
    """Return the newest certificate about a subject, or None."""
    found = []
    for path in _folder(settings).glob("[!.]*.json"):
        document = msgspec.json.decode(path.read_bytes())
        if isinstance(document, dict) and document.get("subject") == subject:
            found.append(document)
    return max(found, key=lambda each: str(each.get("completed_at")), default=None)


def _folder(settings: Settings) -> Path:
    return settings.reports_dir / "erasures"


def _bytes(facts: dict[str, Any]) -> bytes:
    return msgspec.json.encode(facts, order="deterministic")


def _signature(settings: Settings, digest: str) -> str:
    return hmac.new(keys.derived(settings, "certificates"), digest.encode(), hashlib.sha256).hexdigest()
