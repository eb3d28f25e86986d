"""Rules about time and number: quiet hours in the person's own day, most messages a day and a month, and too late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from searchflow import zones
from searchflow.settings import Settings

DAY, MONTH = timedelta(hours=24), timedelta(days=30)


@dataclass(frozen=True)
class SendingRules:
    """The rules that the settings give. All moments are UTC without a zone, as in the warehouse."""

    quiet_from: int
    quiet_until: int
    zone: str
    cap_day: int
    cap_month: int
    expire: timedelta

    @classmethod
    def of(cls, settings: Settings) -> SendingRules:
        """Return the rules that the settings give."""
        start, _, end = settings.email_quiet_hours.partition("-")
        return cls(
            int(start),
            int(end),
            settings.email_time_zone,
            settings.email_cap_day,
            settings.email_cap_month,
            timedelta(hours=settings.email_expire_hours),
        )

    def quiet_end(self, now: datetime, time_zone: str | None) -> datetime | None:
        """Return when this person's present quiet hours end; None when it is not quiet for them."""
        zone = zones.find(time_zone) or zones.named(self.zone)
        local = now.replace(tzinfo=UTC).astimezone(zone)
        if not self._is_quiet(local.hour):
            return None
        day = local.date() if local.hour < self.quiet_until else local.date() + timedelta(days=1)
        end = datetime.combine(day, time(self.quiet_until), tzinfo=zone)
        return end.astimezone(UTC).replace(tzinfo=None)

    def _is_quiet(self, hour: int) -> bool:
        if self.quiet_from <= self.quiet_until:
            return self.quiet_from <= hour < self.quiet_until
        return hour >= self.quiet_from or hour < self.quiet_until

    def capped(self, now: datetime, earlier: Sequence[datetime]) -> str | None:
        """Return why one more message would be too many; None when it is not."""
        if sum(moment > now - DAY for moment in earlier) >= self.cap_day:
            return f"{self.cap_day} in 24 hours"
        if sum(moment > now - MONTH for moment in earlier) >= self.cap_month:
            return f"{self.cap_month} in 30 days"
        return None

    def expired(self, now: datetime, searched_at: datetime) -> bool:
        """Return whether it is too late to write about this search."""
        return now - searched_at > self.expire
