"""What strangers may not do fails, quickly and with a reason."""

import pytest

from tests.publish.published import ENDLESS, Site

DOUBLING = (
    "with recursive t (x, n) as"
    " (select 'aaaaaaaa', 0 union all select {grown}, n + 1 from t where n < 40)"
    " select length(x) from t"
)

WIDE = (
    "with recursive t (x, n) as (select 'a', 0 union all select x || x, n + 1 from t),"
    " wide as (select x from t where n = 14 limit 1)"
)

TOO_COSTLY = {
    "select printf('%.*c', 900000000, 'x')": "not authorized to use function: printf",
    "select format('%.*c', 900000000, 'x')": "not authorized to use function: format",
    "select hex(zeroblob(5e7))": "not authorized to use function: zeroblob",
    "select length(randomblob(900000000))": "not authorized to use function: randomblob",
    "select json_patch('{}', '{}')": "not authorized to use function: json_patch",
    "select json_pretty('[]')": "not authorized to use function: json_pretty",
    "select unhex('00', ' ')": "not authorized to use function: unhex",
    DOUBLING.format(grown="x || x"): "too big",
    DOUBLING.format(grown="replace(x, 'a', 'aaaa')"): "too big",
    DOUBLING.format(grown="hex(x)"): "too big",
    "with recursive t (n) as (select 1 union all select n + 1 from t limit 300000)"
    " select length(group_concat(n)) from t": "too big",
    "select 'a' like '" + "%a" * 200 + "'": "pattern too complex",
    "select 1" + " union all select 1" * 60: "too many terms in compound SELECT",
    "select " + ", ".join(["1"] * 300): "too many columns",
    "select 1" + " + 1" * 300: "Expression tree is too large",
}

OUT_OF_THE_FILE = (
    "select load_extension('libm')",
    "select fts3_tokenizer('simple')",
    "attach 'other.db' as other",
    "with t as (select 1) attach 'other.db' as other",
    "pragma journal_mode = delete",
    "select * from pragma_hard_heap_limit(1)",
    "vacuum into 'copy.db'",
)

WRITES = (
    "insert into nodes (name, uid, created_ms) values ('x', 'x', 0)",
    "with t as (select 1) insert into nodes (name, uid, created_ms) select 'x', 'x', 0",
    "with t as (select 1) update nodes set description = 'x'",
    "with t as (select 1) delete from readings",
    "drop table readings",
    "create table x (y)",
)

PAGES = ("/", "/tmon", "/tmon/readings", "/tmon/readings.json", "/tmon/readings.csv", "/nowhere")


@pytest.mark.parametrize("sql", TOO_COSTLY)
def test_sql_that_costs_too_much_is_refused(site: Site, sql: str) -> None:
    answer = site.ask(sql)
    assert answer.status_code == 400
    assert TOO_COSTLY[sql] in answer.json()["error"]


def test_sql_without_an_end_is_ended_by_the_time_limit(limited: Site) -> None:
    answer = limited.ask(ENDLESS)
    assert answer.status_code == 400
    assert "takes longer" in answer.json()["error"]


def test_rows_that_need_too_much_memory_are_told_so(limited: Site) -> None:
    rows = (
        f"{WIDE}, many (y, m) as (select x, 0 from wide"
        " union all select y || '', m + 1 from many limit 20000)"
        " select length(y) from many order by y"
    )
    answer = limited.ask(rows)
    assert answer.status_code == 400
    assert "memory" in answer.json()["error"] or "takes longer" in answer.json()["error"]


@pytest.mark.parametrize("column", ["x", "cast(x as blob)"])
def test_an_answer_of_tens_of_megabytes_is_refused(site: Site, column: str) -> None:
    answer = site.ask(f"{WIDE} select {column} from wide cross join readings cross join sensors")
    assert answer.status_code == 400
    assert "memory" in answer.json()["error"]
    assert site.ask(f"{WIDE} select {column} from wide").status_code == 200  # the next is fine


def test_a_statement_that_is_too_complex_is_told_so(site: Site) -> None:
    answer = site.ask(f"{WIDE} select {', '.join(['instr(x, x || 1)'] * 60)} from wide")
    assert answer.status_code == 400
    assert "too complex" in answer.json()["error"]


@pytest.mark.parametrize("sql", OUT_OF_THE_FILE + WRITES)
def test_sql_neither_leaves_the_file_nor_writes_to_it(site: Site, sql: str) -> None:
    nodes = site.values("select count(*) from nodes")
    answer = site.ask(sql)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert site.values("select count(*) from nodes") == nodes


@pytest.mark.parametrize("table", ["readings", "latest", "sensors"])
@pytest.mark.parametrize(
    "where",
    [
        "exists (select 1 from pragma_journal_mode)",
        "exists (select 1 from pragma_data_version)",
        "exists (select 1 from pragma_database_list)",
        "json_patch('{}', '{}') = 1",
    ],
)
def test_a_table_filtered_by_sql_has_the_same_limits(site: Site, table: str, where: str) -> None:
    answer = site.get(f"/tmon/{table}.json", _where=where)
    assert answer.status_code in {400, 500}
    assert "not authorized" in answer.text or "prohibited" in answer.text


def test_what_people_ask_for_still_works(site: Site) -> None:
    asked = (
        "select strftime('%Y', measured_at), round(avg(value), 1), group_concat(distinct sensor),"
        " json_group_array(value), max(length(replace(measured_at, 'Z', '')))"
        " from readings where measured_at like '2024%' group by sensor"
    )
    assert site.ask(asked).json()["rows"]


@pytest.mark.parametrize("page", PAGES)
def test_every_answer_carries_the_security_headers(site: Site, page: str) -> None:
    headers = site.get(page).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy  # no foreign host
