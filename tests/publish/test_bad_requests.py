"""No address makes the server fail: what a request gets wrong is told, what we get wrong logged."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, quote_from_bytes, urlsplit

import datasette
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.publish.published import Serve, Site, fill
from tests.station import Process
from tmon.db.connect import open_database
from tmon.serve.datasette_app import datasette_for

SENTENCES = {
    "/tmon/-/query.json?sql=select+1;select+2": "one statement at a time",
    "/tmon/-/query?sql=select+1;select+2": "one statement at a time",
    "/tmon/-/query.csv?sql=select+1;select+2": "one statement at a time",
    "/tmon/-/query.json?sql=select+1%00": "null character",
    "/tmon/-/query.json?sql=select+?": "Binding 1 has no name",
    "/tmon/-/query.json?sql=select+1&_timelimit=abc": "_timelimit has to be a number",
    "/tmon/readings?_where=%00": "null character",
    "/tmon/readings.json?_where=1=1;drop+table+readings": "one statement at a time",
    "/tmon/readings?_where=value=:x": "did not supply a value",
    "/tmon/readings.json?_where=value=?": "Binding 1 has no name",
    "/tmon/readings?_where=1+in+(select+seq+from+pragma_database_list)": "prohibited",
    "/tmon/readings.json?%00=1": "null character",
    "/tmon/readings?_through=[": "_through has to be a JSON object",
    "/tmon/readings?_through={}": "_through has to be a JSON object",
    "/tmon/readings?_through=[]": "_through has to be a JSON object",
    '/tmon/sensors.json?_through={"table":1,"column":"sensor","value":"1"}': "with the texts",
    '/tmon/sensors.json?_through={"table":"no","column":"sensor","value":"1"}': "foreign key",
    '/tmon/sensors.json?_through={"table":"readings","column":"sensor","value":[1]}': "binding",
    "/tmon/readings?_through=" + "[" * 5000: "_through has to be a JSON object",
    "/tmon/readings?_facet=xx": "no such column: xx",
    "/tmon/readings.json?_facet=xx": "no such column: xx",
    "/tmon/readings?_facet_date=xx": "no such column: xx",
    "/tmon/readings?_facet_array=xx": "no such column: inner.xx",
    "/tmon/readings?_facet_array=measured_at": "malformed JSON",
    "/tmon/readings?sensor__in=[": "not valid (sensor__in)",
    "/tmon/readings.json?_timelimit=abc": "_timelimit has to be a number",
    "/tmon/readings.json?_timelimit=1.5": "_timelimit has to be a number",
    "/tmon/-/query?sql=select+*+from+pragma_optimize": "pragma_table_list(), pragma_table_info()",
    "/tmon/-/query.json?sql=select+pragma": "pragma_table_list(), pragma_table_info()",
    "/?sort=nope": "sort must be name or worst or silent",
    "/?unit=K": "unit must be C or F",
    "/node/basement?utc=2": "utc must be 0 or 1",
    "/node/basement.json?unit=nope": "unit must be C or F",
    "/node/basement/temperature.json?values=all": "values must be clean or raw",
    "/node/basement?unit=F&unit=x": "unit must be C or F",
    "/tmon/daily.json?_after=[1": "There is no such page",
    '/tmon/daily.json?_after=[[1],"a"]': "There is no such page",
    "/tmon/daily.json?_after=[true,1]": "There is no such page",
    "/tmon/daily.json?_after=5,1": "There is no such page",
    "/tmon/readings.json?_facet=value" + "&_facet=value" * 10: "at most 10 facets",
    "/tmon/readings?_facet_array=value" + "&%5ffacet_date=value" * 10: "at most 10 facets",
    "/tmon/readings?_facet=value&_x=" + "x" * 2000: "at most 10 facets",
}
NO_FORMATS = ("/tmon/readings.jsono", "/tmon/readings.foo", "/tmon/day.foo", "/tmon/-/query.x?sql=")

HOSTILE = (
    *("%00", "%ED%A0%80", "%FF", "%C0%AF", "%0d%0aX:y", "%", "%zz", "%E2%80%AE", "", "0", "-1"),
    *(
        "9" * 30,
        "-" + "9" * 30,
        "1e999",
        "NaN",
        "[",
        "{}",
        "[" * 2000,
        "'",
        '"',
        "--",
        ";",
        "../..",
    ),
    *("a" * 3000, "%25", "*", ":x", "?", "null", "1,2", "1,2,1", "max", "on", "~00", "~ED~A0~80"),
)
NAMES = {
    "database": ("tmon", "nope", "_internal"),
    "table": ("readings", "sensors", "nodes", "latest", "daily_clean", "rejected", "day", "gaps"),
    "query": ("day", "gaps", "nope"),
    "pks": ("1,1709251200000", "attic", "1", "a,b,c"),
    "node": ("basement", "attic", "nope"),
    "sensor": ("temperature", "humidity", "nope"),
    "format": ("json", "csv", "blob", "md", "svg", "jsono"),
    "form": (".json", ".svg"),
    "name": ("tmon.db",),
    "number": ("0", "1", "9999"),
    "path": ("tmon.css", "app.css"),
}
OURS = ("q", "after", "sort", "unit", "utc", "values", "range", "from", "to", "resolution", "embed")
COLUMNS = ("sensor", "measured_ms", "measured_at", "value", "node", "name", "day", "xx")
COMPARISONS = ("exact", "not", "contains", "in", "notin", "arraycontains", "date", "like", "isnull")
NAMED = re.compile(r"\(\?P<(\w+)>(?:[^()\[\]]|\[[^\]]*\]|\((?:[^()]|\([^()]*\))*\))*\)")


def known_parameters() -> list[str]:
    """What Datasette looks for in an address, read from its source; and what we do."""
    sources = Path(datasette.__file__).parent.rglob("*.py")
    asked = re.compile(r'args(?:\.get(?:list)?\(\s*|\[)"([^"]+)"|"(_\w+)" in ')
    found = {name for path in sources for pair in asked.findall(path.read_text()) for name in pair}
    of_columns = {f"{column}__{comparison}" for column in COLUMNS for comparison in COMPARISONS}
    return sorted({*found, *OURS, *COLUMNS, *of_columns, "_facet_size", "_search_name"} - {""})


def routes(path: Path) -> list[str]:
    """The patterns of all addresses, ours and Datasette's."""
    asgi = datasette_for(path)
    return [pattern.pattern for pattern, _ in asgi._routes()]


VALUES = st.one_of(
    st.sampled_from(HOSTILE),
    st.sampled_from(COLUMNS),
    st.text(max_size=20).map(lambda text: quote(text.encode("utf-8", "surrogatepass"))),
    st.binary(max_size=20).map(quote_from_bytes),
    st.integers().map(str),
)


@st.composite
def addresses(draw: st.DrawFn, patterns: list[str], parameters: list[str]) -> str:
    """An address that one of the patterns takes, with parameters that somebody looks at."""
    pattern = draw(st.sampled_from(patterns))

    def filled(group: re.Match[str]) -> str:
        usual = NAMES.get(group[1], ("x",))
        return draw(st.one_of(st.sampled_from(usual), st.sampled_from(usual), VALUES))

    path = re.sub(r"[()$\\^?]", "", NAMED.sub(filled, pattern)).replace(".+", "x")
    names = st.one_of(st.sampled_from(parameters), VALUES)
    query = draw(st.lists(st.tuples(names, VALUES), max_size=4))
    return f"/{path.lstrip('/')}?{'&'.join(f'{name}={value}' for name, value in query)}"


@dataclass
class Served:
    """`tmon serve datasette` as it is installed, and what it has logged up to now."""

    url: str
    path: Path
    log: Path

    def status(self, address: str, method: str = "GET") -> int:
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        connection.putrequest(method, address, skip_accept_encoding=True)
        connection.endheaders()
        status = connection.getresponse().status
        connection.close()
        return status


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("serving")
    with open_database(folder / "tmon.db", create=True) as db:
        fill(db)
    with (folder / "log").open("a") as log:
        running = Process(
            folder, "serve", "datasette", "--db", "tmon.db", "--datasette-port", "0", stderr=log
        )
    try:
        yield Served(running.addresses(1)["datasette"], folder / "tmon.db", folder / "log")
    finally:
        running.kill()


def told(answer: requests.Response) -> str:
    """The sentence of an error, however it comes."""
    if answer.headers["content-type"].startswith("application/json"):
        return str(answer.json()["error"])
    return html.unescape(answer.text)


@pytest.mark.parametrize("address", SENTENCES)
def test_what_a_request_gets_wrong_is_told(serving: Served, address: str) -> None:
    answer = requests.get(serving.url + address, timeout=60)
    assert answer.status_code == 400
    assert SENTENCES[address] in told(answer)
    assert "database_list()" not in answer.text
    assert "Traceback" not in serving.log.read_text()


@pytest.mark.parametrize("address", NO_FORMATS)
def test_a_format_that_there_is_not_is_not_found(serving: Served, address: str) -> None:
    answer = requests.get(serving.url + address, timeout=60)
    assert answer.status_code == 404
    assert "There is no format" in told(answer)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
@pytest.mark.parametrize(
    "address",
    [
        *("/", "/node/basement", "/node/basement.json", "/download", "/robots.txt"),
        *("/static/tmon.css", "/tmon", "/tmon/readings", "/tmon/readings.csv", "/tmon/day"),
        *("/tmon/-/query", "/tmon/-/query.json", "/tmon/day/-/update", "/tmon/-/queries/store"),
        *("/-/messages", "/-/logout", "/-/create-token", "/nope", "/tmon/readings/-/insert"),
    ],
)
def test_all_there_is_to_do_is_to_read(serving: Served, address: str, method: str) -> None:
    answer = requests.request(method, serving.url + address, data={"sql": "select 1"}, timeout=60)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "Only GET and HEAD are allowed here" in told(answer)
    assert answer.headers["content-type"].startswith("application/json") == address.endswith("json")
    assert "Traceback" not in serving.log.read_text()


@pytest.mark.parametrize("address", ["/", "/node/basement", "/tmon/readings", "/-/messages"])
def test_which_methods_there_are_can_be_asked(serving: Served, address: str) -> None:
    answer = requests.options(serving.url + address, timeout=60)
    assert (answer.status_code, answer.text) == (204, "")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("raw", ["/tmon/\xff", "/?q=\xff", "/node/\xe2\x80\xae"])
def test_an_address_is_ascii(serving: Served, raw: str) -> None:
    connection = HTTPConnection(urlsplit(serving.url).netloc, timeout=60)
    connection.connect()
    connection.sock.sendall(f"GET {raw} HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1"))
    assert connection.sock.recv(100).startswith(b"HTTP/1.1 400 ")
    connection.close()


def no_get_fails(serving: Served, examples: int, *, derandomize: bool) -> None:
    found = addresses(routes(serving.path), known_parameters())

    @settings(max_examples=examples, database=None, derandomize=derandomize)
    @given(address=found, method=st.sampled_from(("GET", "GET", "GET", "HEAD")))
    def holds(address: str, method: str) -> None:
        assert serving.status(address, method) < 500, address
        logged = serving.log.read_text()
        serving.log.write_text("")
        assert "Traceback" not in logged, logged
        assert "tmon.strays" not in logged, logged

    holds()


def test_no_get_fails(serving: Served) -> None:
    """The same two hundred each time; `make soak` asks for others at each run."""
    no_get_fails(serving, 200, derandomize=True)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_get_of_many_fails(serving: Served) -> None:
    no_get_fails(serving, 20_000, derandomize=False)


def test_a_fault_of_ours_stays_one_and_is_logged(
    serve: Serve, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as db:
        fill(db)
        site: Site = serve(path)
        db.execute("alter table readings rename to moved")
        db.execute("alter table incidents rename to others")
    assert site.get("/", q="x").status_code == 500
    assert "no such table" in capfd.readouterr().err


def test_a_damaged_table_is_no_fault_of_its_visitors(
    serve: Serve, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute("pragma wal_checkpoint(truncate)")
        [size] = db.execute("pragma page_size").fetchone()
        [root] = db.execute("select rootpage from sqlite_master where name = 'mutes'").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    assert serve(path).get("/tmon/mutes.json").status_code == 500
    assert "malformed" in capfd.readouterr().err


def test_a_stored_query_that_writes_is_refused_without_a_traceback(tmp_path: Path) -> None:
    open_database(tmp_path / "tmon.db", create=True).close()
    (tmp_path / "datasette.yml").write_text(
        "databases: {tmon: {queries: {wipe: {sql: delete from readings, write: true}}}}"
    )
    process = Process(tmp_path, "serve", "datasette", "--datasette-port", "0")
    try:
        url = f"{process.addresses(1)['datasette']}/tmon/wipe"
        refused = requests.post(url, {"_json": "1"}, timeout=60)
        assert refused.status_code == 405
        assert requests.post(url, timeout=60, allow_redirects=False).status_code == 405
        assert requests.get(url, timeout=60).status_code < 500
    finally:
        process.popen.terminate()
    assert process.end() == (0, "")
