"""What moves clicks and bookings: the direction and the size of each effect, fitted to the demo's history.

Sizes come from a Poisson regression of what happened on the logarithms of all factors at once: a factor that has exactly
the effect the model gives it has the coefficient 1.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from generators import Simulation, campaigns
from generators.draws import power_law
from generators.funnel import PAGE_SIZE, Rows
from generators.offers import typical_price
from generators.places import DEVICE_BOOK, DEVICE_CLICK

Fitted = dict[str, tuple[float, float]]
"""(coefficient, its standard error) by factor."""


def fit(happened: NDArray[np.bool_], **factors: NDArray[np.float64]) -> Fitted:
    """Log-linear regression by Newton's method, with robust standard errors (the outcome is 0 or 1)."""
    design = np.column_stack([np.ones(len(happened)), *factors.values()])
    found = np.zeros(design.shape[1])
    found[0] = np.log(happened.mean())
    for _ in range(30):
        mean = np.exp(design @ found)
        bread = np.linalg.inv((design * mean[:, np.newaxis]).T @ design)
        found = found + bread @ (design.T @ (happened - mean))
    scores = design * (happened - np.exp(design @ found))[:, np.newaxis]
    errors = np.sqrt(np.diag(bread @ (scores.T @ scores) @ bread))
    return dict(zip(factors, zip(found[1:].tolist(), errors[1:].tolist(), strict=True), strict=True))


@pytest.fixture(scope="module")
def clicking(rows: Rows) -> Fitted:
    seen = rows.search.filter(pl.col("results") > 0)
    value = {name: seen[name].to_numpy() for name in seen.columns}
    return fit(
        seen["key"].is_in(rows.click["parent"].implode()).to_numpy(),
        device=np.log(DEVICE_CLICK[value["device"]]),
        page=np.log(np.where(value["page"] > 1, 0.75, 1.0)),
        results=np.log(0.75 + 0.25 * np.minimum(value["results"], 20) / 20),
        progress=np.log(0.85 + 0.3 * value["progress"]),
        channel=np.log(campaigns.READINESS[value["campaign"]]) * 0.5,
        loyalty=np.log(0.9 + 0.3 * value["loyalty"]),
    )


@pytest.fixture(scope="module")
def booking(year: Simulation, rows: Rows) -> Fitted:
    clicks = rows.click
    value = {name: clicks[name].to_numpy() for name in clicks.columns}
    usual = typical_price(value["product"], value["destination"], value["budget"], value["city"])
    return fit(
        # Decisions: of those that a trip makes for one product, the first becomes a booking.
        clicks["key"].is_in(year.funnel.decisions(clicks)["key"].implode()).to_numpy(),
        device=np.log(DEVICE_BOOK[value["device"]]),
        price=-0.6 * np.abs(np.log(value["price"] / 100 / usual)),
        position=-0.08 * np.log(value["position"]),
        progress=np.log(0.55 + 0.9 * value["progress"]),
        channel=np.log(campaigns.READINESS[value["campaign"]]),
        push=np.log(1 + value["push"] / 1000),
        loyalty=0.6 * value["loyalty"],
    )


@pytest.mark.parametrize("factor", ["device", "page", "results", "progress", "channel", "loyalty"])
def test_what_moves_clicks_has_its_size(clicking: Fitted, factor: str) -> None:
    size, error = clicking[factor]
    assert abs(size - 1) < 4 * error
    assert size > 3 * error  # and the data shows that there is an effect


@pytest.mark.parametrize("factor", ["device", "price", "progress", "channel", "push", "loyalty"])
def test_what_moves_bookings_has_its_size(booking: Fitted, factor: str) -> None:
    size, error = booking[factor]
    assert abs(size - 1) < 4 * error
    assert size > 3 * error


def test_position_hardly_moves_bookings(booking: Fitted) -> None:
    size, error = booking["position"]  # an effect of position ** -0.08 is small beside its error
    assert abs(size - 1) < 4 * error


@pytest.mark.parametrize("exponent", [0.8, 1.25])
def test_clicked_positions_have_the_exponent_of_the_setting(exponent: float) -> None:
    unit = (np.arange(100_000) + 0.5) / 100_000
    places = power_law(unit, np.full(100_000, PAGE_SIZE), exponent, PAGE_SIZE)
    counts = np.bincount(places, minlength=PAGE_SIZE + 1)[1:]
    slope = np.polyfit(np.log(np.arange(1, PAGE_SIZE + 1)), np.log(counts), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.01)
