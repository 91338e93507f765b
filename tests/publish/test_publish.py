"""The one file is published as /tmon, and can be read only."""

import asyncio
import gc
import logging
import weakref
from pathlib import Path

import pytest
import requests

from tests.publish.published import Serve, Site
from tests.station import wait_for
from tmon.db.connect import open_database
from tmon.serve.datasette_app import Unpublishable, datasette_for, start

INSIDE = ("/-/versions", "/-/plugins", "/-/settings", "/-/config", "/-/databases", "/-/schema")

WRITES = (
    "/tmon/-/create",
    "/tmon/-/execute-write",
    "/tmon/-/queries/store",
    "/tmon/day/-/update",
    "/tmon/day/-/delete",
    "/tmon/nodes/-/insert",
    "/tmon/nodes/-/upsert",
    "/tmon/nodes/-/alter",
    "/tmon/nodes/-/set-column-type",
    "/tmon/nodes/-/drop",
    "/tmon/nodes/attic/-/update",
    "/tmon/nodes/attic/-/delete",
    "/-/create-token",
)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "tmon.db"
    open_database(path, create=True).close()
    return path


def test_whatever_the_file_is_called_it_is_published_as_tmon(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "50% of #1?" / "my sensors.sqlite"
    path.parent.mkdir()
    open_database(path, create=True).close()
    assert serve(path).rows("/tmon/nodes") == []


def test_new_readings_show_at_once(serve: Serve, database: Path) -> None:
    site = serve(database)
    assert site.rows("/tmon/nodes") == []
    with open_database(database) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('attic', 'u', 0)")
    assert [row["name"] for row in site.rows("/tmon/nodes")] == ["attic"]


def test_the_owners_metadata_takes_the_place_of_the_shipped_one(
    serve: Serve, database: Path
) -> None:
    (database.parent / "metadata.yml").write_text("title: Grandmother's freezers\n")
    assert "Grandmother&#39;s freezers" in serve(database).get("/").text


@pytest.mark.parametrize("page", ["/", "/tmon", "/tmon/readings", "/tmon/day", "/tmon/nodes/attic"])
def test_every_page_names_the_source_and_claims_no_licence_that_nobody_chose(
    site: Site, page: str
) -> None:
    footer = site.get(page).text.split("<footer")[1]
    assert "the sensors of this station" in footer
    assert "licen" not in footer.lower()


def test_the_owners_licence_takes_the_place_of_the_shipped_one(
    serve: Serve, database: Path
) -> None:
    (database.parent / "metadata.yml").write_text(
        "license: CC0\nlicense_url: https://example.org/cc0\n"
        "databases: {tmon: {tables: {nodes: {license: secret}}}}\n"
    )
    site = serve(database)
    assert "CC0" in site.get("/tmon/readings").text.split("<footer")[1]
    assert "secret" in site.get("/tmon/nodes").text.split("<footer")[1]
    assert 'href="https://example.org/cc0"' in site.get("/tmon").text.split("<footer")[1]


def test_faulty_sql_is_logged_as_one_short_line(
    site: Site, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """At level info alone: by default the log is for what needs somebody."""
    caplog.set_level(logging.INFO, "tmon.publish")
    site.ask("select\nneither" + " " * 60_000)
    (record,) = [record for record in caplog.records if record.name == "tmon.publish"]
    assert record.levelno == logging.INFO
    line = record.getMessage()
    assert line.startswith("'select\\nneither ")
    assert "no such column: neither" in line
    assert len(line) < 500
    assert "select" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("name", ["metadata.yml", "datasette.yml"])
@pytest.mark.parametrize("content", ["title: [", "- a\n- list\n", "databases: [tmon]\n", "\x00"])
def test_a_broken_file_is_told_in_one_line_with_its_name(
    database: Path, name: str, content: str
) -> None:
    (database.parent / name).write_text(content)
    with pytest.raises(Unpublishable, match=name.replace(".", r"\.")) as told:
        asyncio.run(start(datasette_for(database)))
    assert "\n" not in str(told.value)


def test_a_setting_that_does_not_exist_is_told(database: Path) -> None:
    (database.parent / "datasette.yml").write_text("settings: {page_sise: 5}\n")
    with pytest.raises(Unpublishable, match=r"datasette\.yml: .*page_sise"):
        datasette_for(database)


def test_a_missing_database_is_told_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(Unpublishable, match="no such database"):
        datasette_for(tmp_path / "none.db")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "letter.db"
    path.write_text("Dear all, " * 100)
    with pytest.raises(Unpublishable, match=r"letter\.db: file is not a database"):
        asyncio.run(start(datasette_for(path)))


def test_visitors_time_limit_does_not_bind_the_start(database: Path) -> None:
    (database.parent / "datasette.yml").write_text(
        "settings: {sql_time_limit_ms: 0}\n"
    )  # nothing is done in time
    datasette = datasette_for(database)
    asyncio.run(start(datasette))
    assert datasette.sql_time_limit_ms == 0


def test_a_machine_too_busy_to_look_at_the_schema_answers_all_the_same(site: Site) -> None:
    async def looked() -> None:
        await site.datasette.refresh_schemas(force=True)

    limit_ms = site.datasette.sql_time_limit_ms
    site.datasette.sql_time_limit_ms = 0
    try:
        asyncio.run(looked())
    finally:
        site.datasette.sql_time_limit_ms = limit_ms


def test_a_query_without_sql_is_told(database: Path) -> None:
    queries = "databases: {tmon: {queries: {mine: {title: Mine}}}}"
    (database.parent / "datasette.yml").write_text(queries)
    with pytest.raises(Unpublishable, match=r"datasette\.yml: .*sql"):
        asyncio.run(start(datasette_for(database)))


def test_not_even_datasette_itself_can_write(database: Path) -> None:
    async def write() -> None:
        datasette = datasette_for(database)
        await start(datasette)
        await datasette.get_database("tmon").execute_write("delete from nodes")

    with pytest.raises(Exception, match="not authorized: SQL can only read here"):
        asyncio.run(write())


def test_a_query_that_ended_leaves_nothing_of_its_own_behind(database: Path) -> None:
    """What an error keeps may be an open statement, which ends others of its connection."""

    class Ended(Exception):
        pass

    def end(_: object) -> None:
        raise Ended

    async def run() -> weakref.ref[Ended]:
        datasette = datasette_for(database)
        await start(datasette)
        try:
            await datasette.get_database("tmon").execute_fn(end)
        except Ended as error:
            return weakref.ref(error)
        raise AssertionError

    gc.disable()
    try:
        ended = asyncio.run(run())
        wait_for(lambda: ended() is None)  # the thread that raised it may be at its end still
    finally:
        gc.enable()


@pytest.mark.parametrize("page", WRITES)
def test_nobody_can_write_or_store_queries(site: Site, page: str) -> None:
    answer = requests.post(
        site.url + page, json={"row": {}, "update": {}, "sql": "select 1"}, timeout=60
    )
    assert answer.status_code == 405


def test_the_file_being_written_is_not_for_download(site: Site) -> None:
    assert site.get("/tmon.db").status_code == 403


@pytest.mark.parametrize("page", INSIDE)
def test_no_page_tells_where_on_the_server_the_files_are(site: Site, page: str) -> None:
    for text in (site.get(page).text, site.get(page + ".json").text):
        assert str(site.path.parent) not in text
        assert str(Path(__file__).parents[2]) not in text


def test_neither_does_sql(site: Site) -> None:
    answer = site.ask("select * from pragma_database_list")
    assert answer.status_code == 400
    assert str(site.path.parent) not in answer.text
