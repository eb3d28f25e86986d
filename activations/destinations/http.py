"""An HTTP API: batches as JSON, each with an idempotency key, so that a repeat can be recognised.

    destination:
      type: http
      url: https://crm.example.com/v1/users/batch
      token_variable: CRM_API_TOKEN     # an environment variable; sent as `Authorization: Bearer ...`

The request (POST), for `operation` upsert, insert, update, append or remove (then the rows have only the key):

    Idempotency-Key: 5f2c...
    {"sync": "crm_contacts", "operation": "upsert", "key": "user_id", "rows": [{"user_id": "u1", "segment": "regular"}]}

A field that is not in a row is to be left as it is (`nulls: keep`).

How an answer is understood: 2xx took all rows, except those in an optional `{"rejected": [{"key": "u1", "reason": "..."}]}`
(and `"repeated": 3` says how many rows of an insert or append were there already);
408, 425, 429 and 5xx are tried again (Retry-After is obeyed); 401, 403, 404, 405 and redirects are a configuration to
correct; any other 4xx refuses the batch, which is then cut in halves down to the rows that are the cause. For an
append or insert, 409 on a single row means that it is there already. An answer that was lost is the API's to make
harmless: it must recognise the idempotency key, and for an append each row's key (after a crash, rows may come in other
batches than before).
"""

from __future__ import annotations

import json
import os
import re
from email.utils import parsedate_to_datetime
from typing import Annotated, Any

import httpx
import msgspec
from msgspec import Meta

from activations.base import Batch, Delivery, Destination, Operation, Rejection, halves
from activations.declaration import Sync
from activations.errors import Retryable
from searchflow import targets
from searchflow.errors import ConfigurationError
from searchflow.settings import Settings

MODES = frozenset({"upsert", "insert", "update", "mirror", "append"})
KEEPS_FIELDS = True  # a field that is not in the row
GROUPS = False
DRIFT = frozenset({"ours"})
TRY_AGAIN = frozenset({408, 425, 429})
MISCONFIGURED = frozenset({401, 403, 404, 405, 407, 410})
REASON_LENGTH = 200


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a sync file about the API. Secrets stand in the environment; the file only names the variable."""

    url: Annotated[str, Meta(pattern=r"^https?://[^@]+$")]
    token_variable: Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    headers: dict[str, str] = {}
    timeout_seconds: Annotated[float, Meta(gt=0)] = 30.0


def open_destination(sync: Sync, options: Options, settings: Settings) -> HttpApi:
    """Return the destination; it does not connect yet."""
    return HttpApi(sync, options, settings)


def _retry_after(response: httpx.Response) -> float | None:
    """Return how many seconds to wait. A date is measured against the server's own clock."""
    asked = response.headers.get("retry-after")
    if asked is None:
        return None
    if asked.strip().isdigit():
        return float(asked)
    try:
        moment, clock = parsedate_to_datetime(asked), parsedate_to_datetime(response.headers["date"])
    except (KeyError, ValueError, TypeError):
        return None
    return max(0.0, (moment - clock).total_seconds())


def _safe(reason: object) -> str:
    """Return a foreign text for our logs: short, on one line, without e-mail addresses."""
    text = re.sub(r"\S+@\S+", "•••", " ".join(str(reason).split()))
    return text[:REASON_LENGTH]


class HttpApi(Destination):
    """Destination with one HTTP client, kept for the run."""

    def __init__(self, sync: Sync, options: Options, settings: Settings) -> None:
        self._sync, self._options, self._settings = sync, options, settings
        self._where = f"activations/syncs/{sync.name}.yaml, destination.url"
        self._client = httpx.Client(timeout=options.timeout_seconds)

    def prepare(self) -> None:
        """Read the token from the environment."""
        headers = dict(self._options.headers)
        if self._options.token_variable is not None:
            token = os.environ.get(self._options.token_variable, "")
            if not token:
                raise ConfigurationError(
                    self._options.token_variable,
                    f"is not set in the environment, and {self._sync.name} needs it.",
                    "Set it to the API's token.",
                )
            headers["Authorization"] = f"Bearer {token}"
        self._client.headers.update(headers)

    def deliver(self, batch: Batch) -> Delivery:
        """Send a batch as one request."""
        if why := targets.refused(self._settings, self._options.url):
            raise ConfigurationError(
                self._where, f"nothing is sent: {why}.", f"Set {targets.VARIABLE}=true if it is meant."
            )
        try:
            response = self._client.post(
                self._options.url,
                content=self._body(batch),
                headers={"Content-Type": "application/json", "Idempotency-Key": batch.identity},
            )
        except httpx.TransportError as error:  # it may have been applied: the idempotency key makes a repeat harmless
            raise Retryable(f"HTTP: {type(error).__name__}") from error
        return self._understood(batch, response)

    def close(self) -> None:
        """Close the connection to the API."""
        self._client.close()

    def _body(self, batch: Batch) -> bytes:
        # Rows are JSON already: put together as text instead of being read and written again.
        key = self._sync.key
        rows = (
            [json.dumps({key: value}) for value in batch.keys]
            if batch.operation is Operation.REMOVE
            else batch.documents
        )
        head = json.dumps({"sync": self._sync.name, "operation": batch.operation.value, "key": key})
        return f'{head[:-1]}, "rows": [{",".join(rows)}]}}'.encode()

    def _understood(self, batch: Batch, response: httpx.Response) -> Delivery:
        status = response.status_code
        if response.is_success:
            return self._taken(batch, response)
        if status in TRY_AGAIN or status >= 500:
            raise Retryable(f"HTTP {status}", after=_retry_after(response))
        if status in MISCONFIGURED or status < 400:
            raise self._misconfigured(status)
        if status == 409 and batch.operation in (Operation.APPEND, Operation.INSERT) and len(batch) == 1:
            return Delivery(repeated=1)
        return halves(self, batch, f"HTTP {status}")

    def _misconfigured(self, status: int) -> ConfigurationError:
        if status in (401, 403) and self._options.token_variable is not None:
            return ConfigurationError(
                self._options.token_variable, f"the API refused it (HTTP {status}).", "Set it to a valid token."
            )
        return ConfigurationError(self._where, f"the API answers HTTP {status}.", "Correct the address or its rights.")

    def _taken(self, batch: Batch, response: httpx.Response) -> Delivery:
        try:
            answer: Any = response.json() if response.content else {}
        except ValueError:
            return Delivery()
        if not isinstance(answer, dict):
            return Delivery()
        repeated = answer.get("repeated", 0)
        return Delivery(self._rejections(batch, answer), repeated if isinstance(repeated, int) else 0)

    def _rejections(self, batch: Batch, answer: dict[str, Any]) -> tuple[Rejection, ...]:
        listed = answer.get("rejected", [])
        listed = listed if isinstance(listed, list) else []
        known = set(batch.keys)
        found = {
            str(each.get("key")): _safe(each.get("reason", "no reason given"))
            for each in listed
            if isinstance(each, dict) and str(each.get("key")) in known
        }
        return tuple(Rejection(key, reason) for key, reason in found.items())
