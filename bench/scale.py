"""The sizes of a run: the real ones, and tiny ones to test that it works."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """The sizes of one run; times in seconds, the rest counts."""

    rounds: int = 3
    seconds: float = 6  # of each load
    nodes: int = 10_000
    year_sensors: int = 100
    year_readings: int = 50_000  # of each sensor, spread evenly over a year
    minute_sensors: int = 100
    minutes: int = 14 * 24 * 60  # fourteen days of one-minute data
    home_rounds: int = 500  # of each node at home
    wide_readings: int = 100  # of each node: with 10,000 nodes a million
    large_readings: int = 10_000  # of each node: with 10,000 nodes a hundred million
    questions: int = 60  # requests for each median of the rows that query, per round
    patience_s: float = 60  # how long to wait for a peer's background work
    cold: bool = True  # whether to drop the kernel's page cache before a start, if run as root

    @property
    def wide_total(self) -> int:
        return self.nodes * self.wide_readings

    @property
    def large_total(self) -> int:
        return self.nodes * self.large_readings


SMOKE = Scale(
    rounds=1,
    seconds=0.3,
    nodes=20,
    year_sensors=5,
    year_readings=400,
    minute_sensors=5,
    minutes=120,
    home_rounds=5,
    wide_readings=100,
    large_readings=3000,  # page 1,000 of 50 rows exists
    questions=2,
    patience_s=0.1,
    cold=False,
)
