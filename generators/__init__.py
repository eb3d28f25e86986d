"""Simulated travellers whose searches, clicks and bookings look real; may import `searchflow` and no other package of
this project.

Rooms: `population` (who), `calendar` (when), `journeys` and `funnel` (what they do), `campaigns` (what brought them),
`faults` (what goes wrong on the way), `rendering` (events as JSON lines), `feeds` (ad spend and profiles),
`publishers`, `answer_key` (the sealed truth), `runs` (what was sent until when) and `live` (traffic at a steady pace).
"""

from generators.answer_key import AnswerKey
from generators.live import LiveReport, live, run_live
from generators.publishers import JsonlPublisher, Publisher, RedisPublisher, StdoutPublisher
from generators.runs import (
    GenerationState,
    Range,
    RunReport,
    load_state,
    next_range,
    publish_range,
    save_state,
)
from generators.settings import FaultSettings, FunnelSettings, SimulationSettings
from generators.simulation import Batch, Simulation

__all__ = [
    "AnswerKey",
    "Batch",
    "FaultSettings",
    "FunnelSettings",
    "GenerationState",
    "JsonlPublisher",
    "LiveReport",
    "Publisher",
    "Range",
    "RedisPublisher",
    "RunReport",
    "Simulation",
    "SimulationSettings",
    "StdoutPublisher",
    "live",
    "load_state",
    "next_range",
    "publish_range",
    "run_live",
    "save_state",
]
