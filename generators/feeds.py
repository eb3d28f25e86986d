"""The two daily feeds beside the events (CONTRACTS section 1): ad spend, and user profiles made with Faker.

File names carry their range and a file never changes: a later run adds files with what is new.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
from faker import Faker

from generators import campaigns
from generators.calendar import zone_of
from generators.draws import Ints
from generators.places import CITIES, CITY_COUNTRY, COUNTRIES
from generators.population import PROFILE_VERSIONS, Population
from generators.rendering import user_ids
from generators.settings import DAY_MS, milliseconds, moment
from generators.simulation import Simulation

_NAMES_A_LOCALE = 300
_MAIL = ("example.com", "example.org", "example.net", "mail.example.com", "post.example.org")
_FAR_FUTURE = 1 << 60


def write(simulation: Simulation, folder: Path, *, after: datetime | None, until: datetime) -> list[Path]:
    """Write what is new in the range: days of spend that are complete, profiles that were made or changed."""
    folder.mkdir(parents=True, exist_ok=True)
    spend, profiles = (
        ad_spend(simulation, after=after, until=until),
        user_profiles(simulation, after=after, until=until),
    )
    files = []
    if len(spend):
        first, last = spend["spend_date"][0], spend["spend_date"][-1]
        files.append(_write(spend, folder / f"ad_spend_{first}_{last}.csv"))
    if len(profiles):
        begin = stamp(after or moment(simulation.settings.start_ms))
        files.append(_write(profiles, folder / f"user_profiles_{begin}_{stamp(until)}.csv"))
    return files


def stamp(at: datetime) -> str:
    """Return a moment as it stands in a file name."""
    return f"{at:%Y%m%dT%H%M%S}{at.microsecond // 1000:03d}Z"


def _write(frame: pl.DataFrame, path: Path) -> Path:
    """Write a file whole or not at all: a reader never sees half a file."""
    unfinished = path.with_name(f".{path.name}.part")
    frame.write_csv(unfinished, datetime_format="%Y-%m-%dT%H:%M:%S%.3fZ", date_format="%Y-%m-%d")
    return unfinished.replace(path)


def ad_spend(simulation: Simulation, *, after: datetime | None, until: datetime) -> pl.DataFrame:
    """Return one row for each day, source and campaign, for the days that ended in the range."""
    start = simulation.settings.start_day
    first = max(milliseconds(after) // DAY_MS, start) if after else start
    last = (milliseconds(until) + 1) // DAY_MS
    if last <= first:
        return pl.DataFrame()
    counts = [
        simulation.brought(visits).group_by("day", "campaign").agg(pl.len().cast(pl.Int64).alias("visits"))
        for visits in simulation.visits(first, last)
    ]
    total = pl.concat(counts).group_by("day", "campaign").agg(pl.col("visits").sum()).sort("day", "campaign")
    day, campaign, visits = (total[name].to_numpy() for name in ("day", "campaign", "visits"))
    paid = campaigns.PAID[campaign]
    return campaigns.ad_spend(
        simulation.draws, day[paid], campaign[paid], visits[paid], simulation.traffic.visits_per_day
    )


def user_profiles(simulation: Simulation, *, after: datetime | None, until: datetime) -> pl.DataFrame:
    """Return every version of a profile that was made or changed in the range."""
    population = simulation.population
    end = milliseconds(until)
    everybody = np.arange(int(population.size(np.array([end // DAY_MS + 2]))[0]))
    travellers = everybody[population.traits(everybody).registered]
    joined = population.joined(travellers)
    changed = population.profile_changes(travellers)
    begin = milliseconds(after) if after else -_FAR_FUTURE
    row, version = np.nonzero((changed > begin) & (changed <= end))
    frame = _profiles(simulation, travellers[row], version, joined[row], changed[row, version])
    return frame.sort("updated_at", "user_id")


def _profiles(simulation: Simulation, travellers: Ints, version: Ints, joined: Ints, changed: Ints) -> pl.DataFrame:
    draws = simulation.draws
    city = simulation.population.city(travellers)
    locale = _locales(simulation.population, travellers, city)
    first, last, plain = _names(draws.seed)
    of_locale = locale * _NAMES_A_LOCALE
    given = of_locale + draws.below("given name", travellers, _NAMES_A_LOCALE)
    family = of_locale + draws.below("family name", travellers, _NAMES_A_LOCALE)
    keys = travellers * PROFILE_VERSIONS + version
    # A third of the changes concern the address.
    mail_key = np.where(draws.uniform("address changes", keys) < 0.33, keys, travellers * PROFILE_VERSIONS)
    numbers = pl.Series(travellers).cast(pl.String)
    mail = pl.Series(_MAIL).gather(draws.below("mail", mail_key, len(_MAIL)))
    frame = pl.DataFrame(
        {
            "user_id": user_ids(pl.Series(travellers)),
            "given": first.gather(given),
            "family": last.gather(family),
            "plain_given": plain[0].gather(given),
            "plain_family": plain[1].gather(family),
            "number": numbers,
            "mail": mail,
            "locale": pl.Series(_LOCALES).gather(locale),
            "time_zone": pl.Series([zone_of(index) for index in range(len(CITIES))]).gather(city),
            "country": pl.Series([one.code for one in COUNTRIES]).gather(CITY_COUNTRY[city]),
            "marketing_consent": simulation.population.consents(travellers, version),
            "created_at": pl.Series(joined).cast(pl.Datetime("ms")),
            "updated_at": pl.Series(changed).cast(pl.Datetime("ms")),
        }
    )
    return frame.select(
        "user_id",
        pl.concat_str("plain_given", pl.lit("."), "plain_family", pl.lit("."), "number", pl.lit("@"), "mail").alias(
            "email"
        ),
        pl.concat_str("given", pl.lit(" "), "family").alias("name"),
        "locale",
        "time_zone",
        "country",
        "marketing_consent",
        "created_at",
        "updated_at",
    )


_LOCALES = tuple(dict.fromkeys(locale for country in COUNTRIES for locale in country.locales))


def _locales(population: Population, travellers: Ints, city: Ints) -> Ints:
    """Return the number of each traveller's locale: of the country, and of the language that is searched in."""
    french, plain = (
        np.array([_LOCALES.index(_locale(country.locales, language)) for country in COUNTRIES])[CITY_COUNTRY[city]]
        for language in ("fr", "")
    )
    return np.where(population.speaks_french(travellers, city), french, plain)


def _locale(locales: tuple[str, ...], language: str) -> str:
    """Return the country's locale in a language, else its usual one."""
    return next((name for name in locales if language and name.startswith(language)), locales[0])


@lru_cache(maxsize=2)
def _names(seed: int) -> tuple[pl.Series, pl.Series, tuple[pl.Series, pl.Series]]:
    """Return given and family names, `_NAMES_A_LOCALE` for each locale in turn, and the same in plain ASCII."""
    first: list[str] = []
    last: list[str] = []
    for locale in _LOCALES:
        faker = Faker(locale)
        faker.seed_instance(f"{seed}/{locale}")
        first += [faker.first_name() for _ in range(_NAMES_A_LOCALE)]
        last += [faker.last_name() for _ in range(_NAMES_A_LOCALE)]
    return pl.Series(first), pl.Series(last), (pl.Series(map(_ascii, first)), pl.Series(map(_ascii, last)))


def _ascii(name: str) -> str:
    """Return a name as it stands in an address."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    return "".join(letter for letter in plain.lower() if letter.isalnum()) or "traveller"
