"""The world as tables: home cities, countries with their money and language, destinations, devices and products."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Country(NamedTuple):
    """A country where travellers live."""

    code: str
    currency: str
    locales: tuple[str, ...]  # of its travellers, the usual one first
    per_cad: float  # units of the currency for one CAD, roughly: prices are shown in local money


class City(NamedTuple):
    """A home city of travellers."""

    name: str
    country: str
    latitude: float
    longitude: float
    zone: str
    weight: float
    french: bool = False


class Destination(NamedTuple):
    """A destination where people want to go."""

    name: str
    code: str
    weight: float
    price: float  # against the average destination
    region: str
    warm: bool = False  # where people go for winter sun


COUNTRIES = (
    Country("CA", "CAD", ("en_CA", "fr_CA"), 1.0),
    Country("US", "USD", ("en_US",), 0.73),
    Country("GB", "GBP", ("en_GB",), 0.57),
    Country("FR", "EUR", ("fr_FR",), 0.67),
    Country("DE", "EUR", ("de_DE",), 0.67),
    Country("ES", "EUR", ("es_ES",), 0.67),
    Country("NL", "EUR", ("nl_NL",), 0.67),
    Country("IE", "EUR", ("en_IE",), 0.67),
    Country("AU", "AUD", ("en_AU",), 1.1),
)

CITIES = (
    City("Toronto", "CA", 43.6532, -79.3832, "America/Toronto", 19),
    City("Montréal", "CA", 45.5019, -73.5674, "America/Toronto", 13, french=True),
    City("Vancouver", "CA", 49.2827, -123.1207, "America/Vancouver", 9),
    City("Calgary", "CA", 51.0447, -114.0719, "America/Edmonton", 5),
    City("Ottawa", "CA", 45.4215, -75.6972, "America/Toronto", 4.5),
    City("Edmonton", "CA", 53.5461, -113.4938, "America/Edmonton", 3.5),
    City("Québec", "CA", 46.8139, -71.208, "America/Toronto", 3, french=True),
    City("Winnipeg", "CA", 49.8951, -97.1384, "America/Winnipeg", 2),
    City("Halifax", "CA", 44.6488, -63.5752, "America/Halifax", 2),
    City("New York", "US", 40.7128, -74.006, "America/New_York", 6),
    City("Boston", "US", 42.3601, -71.0589, "America/New_York", 3),
    City("Chicago", "US", 41.8781, -87.6298, "America/Chicago", 3),
    City("Seattle", "US", 47.6062, -122.3321, "America/Los_Angeles", 3),
    City("Los Angeles", "US", 34.0522, -118.2437, "America/Los_Angeles", 3),
    City("London", "GB", 51.5072, -0.1276, "Europe/London", 5),
    City("Manchester", "GB", 53.4808, -2.2426, "Europe/London", 1.5),
    City("Paris", "FR", 48.8566, 2.3522, "Europe/Paris", 4),
    City("Lyon", "FR", 45.764, 4.8357, "Europe/Paris", 1.2),
    City("Berlin", "DE", 52.52, 13.405, "Europe/Berlin", 2),
    City("München", "DE", 48.1351, 11.582, "Europe/Berlin", 1.6),
    City("Madrid", "ES", 40.4168, -3.7038, "Europe/Madrid", 1.4),
    City("Amsterdam", "NL", 52.3676, 4.9041, "Europe/Amsterdam", 1.2),
    City("Dublin", "IE", 53.3498, -6.2603, "Europe/Dublin", 1),
    City("Sydney", "AU", -33.8688, 151.2093, "Australia/Sydney", 2),
    City("Melbourne", "AU", -37.8136, 144.9631, "Australia/Melbourne", 1.2),
)
BOT_CITY = 9  # New York: a data centre on the east coast

DESTINATIONS = (
    Destination("Paris", "par", 9, 1.15, "europe"),
    Destination("London", "lon", 8, 1.2, "europe"),
    Destination("Cancún", "cun", 8, 0.95, "caribbean", warm=True),
    Destination("New York", "nyc", 7.5, 1.3, "usa"),
    Destination("Lisbon", "lis", 6, 0.85, "europe"),
    Destination("Rome", "rom", 6, 1.0, "europe"),
    Destination("Barcelona", "bcn", 6, 1.0, "europe"),
    Destination("Tokyo", "tyo", 5, 1.25, "asia"),
    Destination("Orlando", "orl", 5, 0.95, "usa", warm=True),
    Destination("Las Vegas", "las", 4.5, 0.85, "usa"),
    Destination("Vancouver", "yvr", 4, 1.05, "canada"),
    Destination("Montréal", "yul", 4, 0.9, "canada"),
    Destination("Québec", "yqb", 2.5, 0.85, "canada"),
    Destination("Banff", "yba", 3.5, 1.2, "canada"),
    Destination("Honolulu", "hnl", 4, 1.45, "usa", warm=True),
    Destination("Punta Cana", "puj", 5, 0.9, "caribbean", warm=True),
    Destination("Varadero", "vra", 3.5, 0.7, "caribbean", warm=True),
    Destination("Miami", "mia", 4, 1.1, "usa", warm=True),
    Destination("Los Angeles", "lax", 3.5, 1.15, "usa"),
    Destination("San Francisco", "sfo", 2.5, 1.25, "usa"),
    Destination("Amsterdam", "ams", 3.5, 1.15, "europe"),
    Destination("Berlin", "ber", 2.2, 0.9, "europe"),
    Destination("Vienna", "vie", 1.8, 0.95, "europe"),
    Destination("Prague", "prg", 2.2, 0.75, "europe"),
    Destination("Athens", "ath", 2.8, 0.85, "europe"),
    Destination("Santorini", "jtr", 2.2, 1.35, "europe"),
    Destination("Dubrovnik", "dbv", 1.5, 1.0, "europe"),
    Destination("Istanbul", "ist", 2.0, 0.7, "europe"),
    Destination("Marrakech", "rak", 1.6, 0.7, "africa"),
    Destination("Dubai", "dxb", 2.4, 1.2, "asia", warm=True),
    Destination("Bangkok", "bkk", 2.6, 0.65, "asia", warm=True),
    Destination("Bali", "dps", 2.6, 0.75, "asia", warm=True),
    Destination("Singapore", "sin", 1.5, 1.2, "asia"),
    Destination("Sydney", "syd", 1.6, 1.3, "oceania"),
    Destination("Reykjavík", "rek", 2.0, 1.4, "europe"),
    Destination("Edinburgh", "edi", 1.6, 1.0, "europe"),
    Destination("Dublin", "dub", 1.6, 1.05, "europe"),
    Destination("Costa Rica", "sjo", 1.8, 0.95, "caribbean", warm=True),
    Destination("Lima", "lim", 1.0, 0.8, "caribbean"),
    Destination("Cape Town", "cpt", 1.0, 0.85, "africa"),
)

DEVICES = (  # (platform, device type)
    ("web", "desktop"),
    ("web", "mobile"),
    ("ios", "mobile"),
    ("android", "mobile"),
    ("ios", "tablet"),
    ("web", "tablet"),
)
COMPUTER, PHONE_BROWSER, ANDROID_PHONE = 0, 1, 3  # numbers of devices
IOS_DEVICES = np.array([platform == "ios" for platform, _ in DEVICES])
DEVICE_WEIGHTS = np.array([36.0, 20.0, 20.0, 15.0, 5.0, 4.0])
DEVICE_CLICK = np.array([1.1, 0.88, 1.02, 0.98, 1.05, 0.95])  # how readily a search is clicked
DEVICE_BOOK = np.array([1.35, 0.6, 0.95, 0.8, 1.0, 0.9])  # how readily a click becomes a booking

PRODUCTS = ("hotel", "flight", "package", "car")
PRODUCT_WEIGHTS = np.array([48.0, 32.0, 11.0, 9.0])
PRODUCT_PRICE = np.array([165.0, 520.0, 1150.0, 58.0])  # CAD: a night, a seat, a person, a day
PRODUCT_SPREAD = np.array([0.45, 0.4, 0.35, 0.35])
RESULTS = 400
"""The number of hotels, flights, packages or cars that a destination has. Each has a price level and a provider of its
own."""
STAY_MONTHS = np.array([0.92, 0.95, 1.02, 0.98, 1.0, 1.06, 1.12, 1.12, 0.98, 0.94, 0.9, 1.08])
"""The cost of a stay in each month, against the year."""
PRODUCT_RESULTS = np.array([180.0, 90.0, 60.0, 35.0])
PRODUCT_COMMISSION = np.array([0.15, 0.03, 0.10, 0.12])
PROVIDERS = (
    ("Northern Stays", "Maple Hotels", "UrbanNest", "Grand Voyage", "BlueKey"),
    ("TransPolar Air", "Lakehead Airlines", "Aurora Airways", "Meridian Air", "SkyBridge"),
    ("SunTrail Holidays", "Voyages Boréal", "Atlas Getaways", "Horizon Tours", "Lagoon Breaks"),
    ("GoRental", "Prairie Cars", "CityDrive", "Summit Rent", "MapleWheels"),
)

CITY_COUNTRY = np.array([[c.code for c in COUNTRIES].index(city.country) for city in CITIES])
CITY_WEIGHTS = np.array([city.weight for city in CITIES])
DESTINATION_WEIGHTS = np.array([place.weight for place in DESTINATIONS])
DESTINATION_WARM = np.array([place.warm for place in DESTINATIONS])
NEARNESS = {  # how much readier people go there than Canadians and Americans do: Europeans to Europe, hardly to Banff
    "europe": {
        "europe": 1.6,
        "canada": 0.35,
        "usa": 0.7,
        "caribbean": 0.45,
        "asia": 1.2,
        "africa": 2.0,
        "oceania": 0.8,
    },
    "oceania": {
        "europe": 0.8,
        "canada": 0.5,
        "usa": 0.7,
        "caribbean": 0.15,
        "asia": 3.5,
        "africa": 0.8,
        "oceania": 5.0,
    },
}
HOME_REGION = {
    "GB": "europe",
    "FR": "europe",
    "DE": "europe",
    "ES": "europe",
    "NL": "europe",
    "IE": "europe",
    "AU": "oceania",
}
DESTINATIONS_FROM = np.array(
    [
        [
            # No one plans a trip to where they live.
            (place.name != city.name)
            * place.weight
            * NEARNESS.get(HOME_REGION.get(city.country, ""), {}).get(place.region, 1)
            for place in DESTINATIONS
        ]
        for city in CITIES
    ]
)
"""The weight of each destination (columns) for people of each home city (rows)."""
DESTINATION_PRICE = np.array([place.price for place in DESTINATIONS])
COUNTRY_RATE = np.array([country.per_cad for country in COUNTRIES])
ZONES = tuple(sorted({city.zone for city in CITIES}))
CITY_ZONE = np.array([ZONES.index(city.zone) for city in CITIES])
NIGHTS = np.arange(1, 15)
NIGHT_WEIGHTS = np.array([20, 23, 22, 13, 7, 3, 7, 1.5, 0.8, 0.9, 0.3, 0.3, 0.2, 1.0])  # mean 3.4
