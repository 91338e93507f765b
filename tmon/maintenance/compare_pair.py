"""The two stations of `tmon compare`, asked at the same time."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from time import sleep
from types import TracebackType
from typing import Any, Self

from tmon.maintenance.compare_stations import CannotCompare, ComparedStation, Row, TooCostly

PATIENCE_S = (1.0, 3.0, 10.0)  # with a server that refuses even a small query


class Pair:
    """The two stations, asked at the same time, each in the one thread that opened it."""

    def __init__(self, *places: str) -> None:
        from tmon.maintenance.compare_published import open_station  # noqa: PLC0415 - HTTP loads slowly

        self._threads = [ThreadPoolExecutor(1, "compare") for _ in places]
        self._stations: list[ComparedStation] = []
        try:
            opening = [
                thread.submit(open_station, place)
                for thread, place in zip(self._threads, places, strict=True)
            ]
            self._stations = _all(opening)
        except BaseException:
            self.close()
            raise
        self.names = [station.name for station in self._stations]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, sql: str, values: dict[str, str] | None = None) -> list[list[Row]]:
        """The rows of both.

        Raises:
            TooCostly: one of them refuses this query.
            CannotCompare: one of them doesn't answer.
        """
        asked = zip(self._threads, self._stations, strict=True)
        return _all([thread.submit(station.rows, sql, values or {}) for thread, station in asked])

    def ask_patiently(
        self,
        sql: str,
        values: dict[str, str] | None = None,
        pause: Callable[[float], object] = sleep,
    ) -> list[list[Row]]:
        """The same of a small query: ask again when it is refused, as the server may be busy.

        Raises:
            CannotCompare: one of them doesn't answer, or refuses it again and again.
        """
        for pause_s in PATIENCE_S:
            with suppress(TooCostly):
                return self.ask(sql, values)
            pause(pause_s)
        try:
            return self.ask(sql, values)
        except TooCostly as error:
            raise CannotCompare(f"a server refuses a small query: {error}") from error

    def close(self) -> None:
        for thread, station in zip(self._threads, self._stations, strict=False):
            thread.submit(station.close).result()
        for thread in self._threads:
            thread.shutdown()


def _all(futures: "list[Future[Any]]") -> list[Any]:
    """All results, once all are done; or the first error."""
    errors = [error for error in [future.exception() for future in futures] if error]
    if errors:
        raise errors[0]
    return [future.result() for future in futures]
