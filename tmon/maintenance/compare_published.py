"""One side of `tmon compare`: a published Datasette, asked by the SQL that everybody may use."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import sleep
from urllib.parse import urlsplit, urlunsplit

import requests

from tmon.core import checksum
from tmon.maintenance.compare_stations import (
    CannotCompare,
    ComparedStation,
    FileStation,
    Row,
    TooCostly,
    Values,
)

CONNECT_S, ANSWER_S = 10.0, 60.0  # Datasette ends a query after a second, but may be busy before
RETRY_PAUSES_S = (1.0, 2.0, 4.0, 8.0)  # while a server is busy or restarts
BUSY = frozenset((429, 502, 503, 504))


def open_station(place: str) -> ComparedStation:
    """A station by its file's path, or by its Datasette's address.

    Raises:
        CannotCompare: there is no tmon.
    """
    is_address = place.startswith(("http://", "https://"))
    return DatasetteStation(place) if is_address else FileStation(Path(place))


class DatasetteStation:
    """A station that is published, asked by the SQL that everybody may use."""

    def __init__(
        self,
        address: str,
        pauses_s: Sequence[float] = RETRY_PAUSES_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]  # without a password
        self.name = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self._query = urlunsplit(
            (*parts[:2], f"{parts.path.rstrip('/')}/tmon/-/query.json", "", "")
        )
        self._session = requests.Session()
        self._pauses_s, self._answer_s, self._answered = pauses_s, answer_s, False
        try:
            self.rows(f"select {checksum.SQL_NAME}(1) from (select 1 from readings limit 1)", {})
        except TooCostly as error:
            raise CannotCompare(
                f"{self.name}: no tmon that can be compared ({error}); a tmon of the same version"
                " is needed at both ends"
            ) from error

    def rows(self, sql: str, values: Values) -> list[Row]:
        answer = self._get({"sql": sql, "_shape": "arrays", **values})
        try:
            body = answer.json()
        except ValueError:
            body = None
        if not isinstance(body, dict) or "ok" not in body:
            raise CannotCompare(
                f"{self.name}: no Datasette answers there, but something else (status"
                f" {answer.status_code}); say the address of the page on which /tmon is"
            )
        if answer.status_code == 400:
            raise TooCostly(body.get("error", "status 400"))
        if answer.status_code != 200:
            raise CannotCompare(f"{self.name}: {body.get('error', answer.status_code)}")
        if body["truncated"]:
            raise TooCostly("more rows than an answer may have")
        return [tuple(row) for row in body["rows"]]

    def close(self) -> None:
        self._session.close()

    def _get(self, query: Mapping[str, int | str]) -> requests.Response:
        """Ask; once it has answered, ask again after a pause while it is busy or restarts."""
        for pause_s in self._pauses_s if self._answered else ():
            with suppress(requests.ConnectionError):
                answer = self._get_once(query)
                if answer.status_code not in BUSY:
                    return answer
            sleep(pause_s)
        try:
            answer = self._get_once(query)
        except requests.RequestException as error:
            raise CannotCompare(f"{self.name}: {_reason(error)}") from None
        self._answered = True
        return answer

    def _get_once(self, query: Mapping[str, int | str]) -> requests.Response:
        return self._session.get(self._query, params=query, timeout=(CONNECT_S, self._answer_s))


def _reason(error: requests.RequestException) -> str:
    """Why there is no answer, without the address: it may contain a password."""
    if isinstance(error, requests.Timeout):
        return "it took too long to answer; try again when the server has less to do"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate isn't trusted"
    return "it can't be reached; is the address right, and does the station run?"
