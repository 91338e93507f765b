"""A column's header: its name, its unit, and the sensor it is of."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tmon.core.errors import CannotImport
from tmon.core.reading import Refusal, clip
from tmon.core.units import UNITS, canonical, kept_as

# Units that are kept as written; those that are converted are in tmon/core/units.py.
_OTHER_UNITS = frozenset(
    "mmhg inhg psi m/s km/h kmh mph kn kt kts knots mm cm m km inch mm/h w kw mw wh kwh va var a ma"
    " ah mah db dba dbm hz khz µg/m³ ug/m3 µg/m3 mg/m³ mg/m3 g/m³ g/m3 ppb µs/cm us/cm ms/cm w/m²"
    " w/m2 klux uv ° deg m³ m3 l l/min l/h g kg j kj mj ph ntu %vol bq/m³ bq/m3 pci/l µm um"
    " pcs in in/h in/hr ft ft/s ft³ ft3 mi gal gpm".split()
)
# In brackets: °R, g/kg, dPa, torr; but not (avg), (Bad), (2m).
_UNKNOWN_UNIT = re.compile(
    r"°[A-Za-z]{1,3}|(?!C/F|F/C|[Nn]/[Aa])[A-Za-zµ]{1,5}/[A-Za-z0-9²³]{1,5}|[a-zµ]{1,2}[A-Z][a-z]?|torr"
)
_RELATIVE = re.compile(r"%\s*(r\.?\s?[fh]\.?|rel\.?|hr|ur)", re.IGNORECASE)
_WORDS_OF_UNITS = frozenset(("celsius", "fahrenheit", "kelvin", "percent", "lux", "volt", "volts"))
_SURE_WORDS = frozenset(("mmhg", "inhg", "ppb", "psi", "kmh", "mph", "wh", "kwh"))
_DEGREES = {
    **dict.fromkeys("f degf fahrenheit farenheit fahrenheight fahr".split(), "F"),
    **dict.fromkeys("c degc celsius celcius centigrade".split(), "C"),
}
_DEGREE_SIGN = re.compile(r"[*°º˚]\s?([CF])(?![A-Za-z])|(?<![A-Za-z])([CF])\s?[*°º˚]")
_STATISTICS = frozenset("avg average mean min minimum max maximum med median std hi lo".split())
_SENSORS = {
    "temperature": "temp temperature temperatur temperatura temperatuur tempc tempf t degc degf",
    "humidity": "humidity rh hum humi humid relative_humidity luftfeuchte luftfeuchtigkeit feuchte"
    " rel_feuchte rel_luftfeuchte relative_luftfeuchte humidite humedad umidita luchtvochtigheid",
    "pressure": "pressure press druck luftdruck baro bar barometer pression presion bp",
    "co2": "co2 carbon_dioxide kohlendioxid",
}
_SENSOR_OF = {word: sensor for sensor, words in _SENSORS.items() for word in words.split()}
_NEVER_VALUES = re.compile(
    r"#|no|nr|number|index|idx|id|.*[_ ]id|rn|rec|record|row|line|lat|lon|lng|long|latitude"
    r"|longitude|elev|elevation|location|version|.*[_ ]version|qn(_\d+)?|unnamed:_\d+|table|uuid"
    r"|serial.*|firmware.*|.*alarm.*|mac|eor|stations?(_id)?|stations_id|coupler.*|end_of_file.*|host_connected.*"
    r"|stopped.*|started.*|stn|staid|souid|itemid|sensor_index|.*_(code|flag|qc)|usunits|interval|_start|_stop|result|year|month|day|hour|jahr|monat|tag"
)


@dataclass(frozen=True)
class Column:
    """One column: its index, its name, and the cells above and below the name."""

    index: int
    name: str
    above: str = ""
    below: str = ""

    @property
    def full_name(self) -> str:
        """The name after the cell above it: WeatherLink writes ``Temp`` over ``Out``."""
        return f"{self.above} {self.name}".strip()

    @property
    def unit(self) -> str | None:
        """The unit that the header names, as written."""
        return unit_in(self.full_name) or (self.below if is_unit(self.below) else None)

    @property
    def sensor(self) -> str:
        """A sensor's name for the header: ``temperature`` for ``Temp, °C (LGR S/N: 1)``."""
        bare = re.sub(r"[(\[].*?[)\]]", " ", self.full_name)
        bare = re.sub(r",.*", "", bare, flags=re.DOTALL).strip() or bare
        unit = unit_in(bare)
        if unit and bare.lower().endswith(unit.lower()) and len(bare) > len(unit):
            bare = bare[: -len(unit)]
        slug = slug_of(bare) or f"column{self.index + 1}"
        return usual_name(slug) or slug.lower()

    @property
    def is_not_measured(self) -> bool:
        """Whether it is called like a row number, an id or a place rather than a measured value."""
        plain = re.sub(r"\W+", "_", self.name.lower()).strip("_") or self.name
        return _NEVER_VALUES.fullmatch(plain) is not None


def usual_name(text: str) -> str | None:
    """The usual name of a sensor: ``humidity`` for ``RH`` or ``rel. Luftfeuchte``."""
    return _SENSOR_OF.get(slug_of(text).lower())


def slug_of(text: str) -> str:
    """A text in ASCII letters, digits and _: ``Kuche`` for ``Küche``."""
    plain = (
        unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()
    )
    return re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")[:64].rstrip("_")


def plain(text: str) -> str:
    """A header's text in one line, without a byte order mark or blanks around it."""
    return " ".join(text.strip("\ufeff").split())


def is_unit(text: str) -> bool:
    """Whether a text is a unit: one that tmon converts, or one of the usual others."""
    text = text.strip()
    return bool(text) and (is_converted(text) or text.replace(" ", "").lower() in _OTHER_UNITS)


def is_temperature(unit: str) -> bool:
    """Whether a unit measures temperature."""
    try:
        return canonical(0.0, unit)[1] == "°C"
    except Refusal:
        return False


def is_lettered(names: Iterable[str], name: str) -> bool:
    """Whether C or F in a name is one of several letters: ``Temp A``, ``Temp B``, ``Temp C``."""
    for other in names:
        places = [
            place for place, pair in enumerate(zip(name, other, strict=False)) if len({*pair}) > 1
        ]
        if len(places) != 1 or len(other) != len(name):
            continue
        [place] = places
        letter, before = other[place].upper(), name[:place].rstrip()[-1:]
        if letter.isalpha() and letter not in "CF" and before not in {"(", "[", ",", "°"}:
            return True
    return False


def same_unit(one: str, other: str) -> bool:
    """Whether two spellings mean the same unit: ``C`` and ``°C`` do, ``°F`` and ``°C`` don't."""
    try:
        return canonical(100.0, one) == canonical(100.0, other)
    except Refusal:
        return False


def unit_in(header: str) -> str | None:
    """The unit that a header names: in brackets, after a comma, or as its last word.

    A unit that tmon doesn't know, such as g/kg, °R or dPa, is kept as written.
    """
    if known := _unit_in_brackets(header) or _unit_at_end(header):
        return known
    for text in re.findall(r"[(\[]([^()\[\]]*)[)\]]|,([^,(\[]+)", header):
        if _UNKNOWN_UNIT.fullmatch("".join(text).strip()):
            return "".join(text).strip()
    last = (header.split() or [""])[-1]
    return last if re.fullmatch(r"°[A-Za-z]{1,3}", last) else None


def _unit_in_brackets(header: str) -> str | None:
    for text in re.findall(r"[(\[]([^()\[\]]*)[)\]]", header):
        if is_unit(text):
            return str(text).strip()
        if _RELATIVE.fullmatch(text.strip()):
            return "%"
    for text in re.findall(r"(?:,|\s-\s)([^,(\[]+)", header):
        if is_unit(text):
            return str(text).strip()
    return None


def _unit_at_end(header: str) -> str | None:
    bare = re.sub(r"[(\[].*?[)\]]", "", header).strip()
    *before, last = re.split(r"[\s_]+|-(?=[°%])", bare) or [""]
    if last.casefold() in _WORDS_OF_UNITS or (last and not last[0].isalnum() and is_unit(last)):
        return last
    if _RELATIVE.fullmatch(last):
        return "%"
    is_sure = "/" in last or last.lower() in _SURE_WORDS
    if before and len(last) > 1 and (is_converted(last) or (is_sure and is_unit(last))):
        return last
    return _degrees_in(header)


def _degrees_in(header: str) -> str | None:
    """``F`` in ``temperatureF``, ``TEMP_F_AVG``, ``Temp *F``; K could be a thermocouple's type.

    None for ``room_f_temperature``, which may be a room.
    """
    if re.fullmatch(r"(?:in|out|indoor|outdoor)?temp(?:in|out|\d+)?[cf]", header.strip().lower()):
        return header.strip()[-1].upper()
    if signs := {after or before for after, before in _DEGREE_SIGN.findall(header)}:
        return signs.pop() if len(signs) == 1 else None
    words = _words(header)
    if not any(map(_is_temperature, words)):
        return None
    units = {
        _DEGREES[word]
        for place, word in enumerate(words)
        if word in _DEGREES
        and (
            len(word) > 1
            or (place and _is_temperature(words[place - 1]))
            or _STATISTICS.issuperset(words[place + 1 :])
        )
    }
    return units.pop() if len(units) == 1 else None


def may_name_fahrenheit(name: str) -> bool:
    """Whether a name has an F that may stand for °F: ``attic_f``, ``room_f_temperature``."""
    words = _words(name)
    is_last = len(words) > 1 and words[-1] == "f" and len(words[-2]) > 1  # nF is no temperature
    return unit_in(name) is None and (
        is_last or ("f" in words and any(map(_is_temperature, words)))
    )


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def _is_temperature(word: str) -> bool:
    return re.match(r"\w*temp|t$|dew|heat|chill", word) is not None


def find(columns: Sequence[Column], name: str, line: int) -> Column:
    """The column called ``name``; ``NAME#2`` is the second of that name.

    Raises:
        CannotImport: there is none, or there are several.
    """
    wanted = plain(name)
    found = [column for column in columns if column.name == wanted]
    found = found or [column for column in columns if column.full_name == wanted]
    base, mark, number = wanted.rpartition("#")
    if not found and mark and number.isdigit():
        equals = [column for column in columns if column.name == base]
        found = equals[int(number) - 1 : int(number)] if int(number) else []
    if len(found) == 1:
        return found[0]
    where = "the first line names" if line == 1 else f"line {line} names"
    shown = clip(", ".join(column.name for column in columns))
    hint = "; --no-header takes columns by number" if wanted.isdigit() else ""
    if found:
        raise CannotImport(
            f"several columns are called {clip(wanted)!r}; '{clip(wanted)}#1', '{clip(wanted)}#2'"
            f" say which; {where}: {shown}"
        )
    raise CannotImport(f"no column is called {clip(wanted)!r}; {where}: {shown}{hint}")


def reference(columns: Sequence[Column], column: Column) -> str:
    """How a flag names a column: ``Temp``, or ``Temp#2`` where several have that name."""
    equals = [other for other in columns if other.name == column.name]
    return column.name if len(equals) == 1 else f"{column.name}#{equals.index(column) + 1}"


def is_converted(unit: str) -> bool:
    """Whether tmon knows what a unit measures."""
    try:
        return kept_as(unit) in UNITS or canonical(1.0, unit)[0] != 1.0
    except Refusal:
        return False
