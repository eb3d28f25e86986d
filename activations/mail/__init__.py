"""E-mail: takes messages from the outbox, decides whether each may still go, and delivers it over SMTP, once.

Imports only `searchflow`, `activations` and third-party packages. The way of a message: taken into the ledger
(`ledger`), looked at with the newest data (`facts`) and the rules about time and number (`rules`), made from a template
(`templates`, `compose`), given to the server (`smtp`), recorded. `worker` puts them in this order.
"""

from activations.mail.ledger import MailLedger
from activations.mail.worker import DeliveryReport, Worker, deliver

__all__ = ["DeliveryReport", "MailLedger", "Worker", "deliver"]
