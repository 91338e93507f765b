"""What a chart's axis says of values."""

import pytest

from tmon.pages import svg
from tmon.pages.points import Line, Sensor
from tmon.pages.spans import Span


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((20.0, 24.0), ">20<"),
        ((20.0, 20.4), ">20.1<"),
        ((-5.0, 5.0), ">\N{MINUS SIGN}4<"),
        ((0.0, 25e6), ">1e7<"),
        ((0.0, 5e-8), ">4e\N{MINUS SIGN}8<"),
    ],
)
def test_an_axis_tells_values_in_the_room_there_is(values: tuple[float, float], told: str) -> None:
    lines = [Line(Sensor(1, "s", None), [*enumerate(values)], 10.0, 0.0)]
    assert told in svg.drawing(lines, svg.frame(lines, Span(0, 10)))
