"""How far two machines that store the same streams are, for `tmon compare`."""

from collections.abc import Callable
from time import sleep
from typing import Any

from tmon.core.humanize import pluralize
from tmon.maintenance.compare_pair import Pair
from tmon.maintenance.compare_stations import CannotCompare

ASK_AGAIN_S = 2.0
STOPPED_AFTER, MOST_ASKED = 6, 90  # times: 12 s without news, three minutes in all

Positions = dict[tuple[Any, ...], int]  # by the stream and when it was made


def behind(pair: Pair, pause: Callable[[float], object] = sleep) -> list[int]:
    """How many messages of the streams each has yet to store that the other has.

    Empty if they aren't two machines of one station.
    """
    both = _positions(pair, pause)
    return _messages(both, _furthest(both)) if _are_of_one_station(both) else []


def catch_up(
    pair: Pair,
    tell: Callable[[str], object] = lambda _: None,
    pause: Callable[[float], object] = sleep,
) -> None:
    """Wait until each machine has stored what either has now.

    Args:
        pair: two stations; nothing is waited for unless both store the same streams.
        tell: told how far it is, before each pause.
        pause: waits so many seconds.

    Raises:
        CannotCompare: one of them doesn't get that far, or takes too long.
    """
    both = _positions(pair, pause)
    if not _are_of_one_station(both):
        return
    furthest, same = _furthest(both), 0
    before: list[Positions] = []
    for _ in range(MOST_ASKED):
        missing = _messages(both, furthest)
        if not any(missing):
            return
        late = max(range(2), key=missing.__getitem__)
        state = (
            f"{pair.names[late]} is {pluralize(missing[late], 'message')} behind"
            f" {pair.names[1 - late]}"
        )
        same = same + 1 if both == before else 0
        if same == STOPPED_AFTER:
            raise CannotCompare(
                f"{state}, and stores nothing: does its sink run? Readings before a time that both"
                " have can be compared by --until"
            )
        tell(state)
        pause(ASK_AGAIN_S)
        before, both = both, _positions(pair, pause)
    raise CannotCompare(f"{state}; compare again once it has caught up")


def _positions(pair: Pair, pause: Callable[[float], object]) -> list[Positions]:
    sql = "select partition, created, sequence from stream_positions"
    found = pair.ask_patiently(sql, pause=pause)
    return [{(partition, made): at for partition, made, at in rows} for rows in found]


def _are_of_one_station(both: list[Positions]) -> bool:
    return bool(both[0]) and both[0].keys() == both[1].keys()


def _furthest(both: list[Positions]) -> Positions:
    return {stream: max(one[stream] for one in both) for stream in both[0]}


def _messages(both: list[Positions], furthest: Positions) -> list[int]:
    return [sum(max(0, at - one[stream]) for stream, at in furthest.items()) for one in both]
