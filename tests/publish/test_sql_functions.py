"""What one call of each function takes at its worst, as nothing is interrupted within it."""

import re
import sqlite3 as names
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]  # or pysqlite3

from tmon.core import checksum
from tmon.db.connect import open_database
from tmon.pages.limited_connection import DENIED_FUNCTIONS, LIMITS, LimitedConnection

N = LIMITS[names.SQLITE_LIMIT_LENGTH] * 9 // 10
LONGEST_S = 0.05  # they take 10 ms at most; other tests may run beside this one

A, E = "a" * N, "é" * (N // 2)
UNLIKE = A[: N // 2] + "b"
ARRAY = "[" + "1," * (N // 2 - 3) + "1]"
KEYS = "{" + ",".join(f'"{n}":1' for n in range(N // 10)) + "}"
DEEP = '{"aaaaaaaaaa":' * 900 + "[" + "1," * (N // 2 - 7200) + "1]" + "}" * 900
SETS = ", ".join(f"'$.k{n}', 1" for n in range(40))
FIRSTS = ", ".join(["'$[0]'"] * 90)
WEEKS = ", ".join(["'start of month', 'weekday 0'"] * 45)
APPENDS = ", ".join(["'$[#]', 1"] * 40)

# Calls by what they take for :x and :y.
CALLS = {
    "instr(:x, :y)": (A, UNLIKE),
    "instr(cast(:x as blob), cast(:y as blob))": (A, UNLIKE),
    "replace(:x, :y, '')": (A, UNLIKE),
    "replace(:x, 'a', 'b')": (A, ""),
    "trim(:x, :y)": (A, "b" * (N - 1) + "a"),
    "ltrim(:x, :y)": (E, "".join(map(chr, range(0x4E00, 0x4E00 + N // 3 - 1))) + "é"),
    "rtrim(:x, :y)": (A, "b" * (N - 1) + "a"),
    "glob(:y, :x)": (A, "*[" + "b" * 190 + "]"),
    "glob(:y, cast(:x as text))": (A, "*[ab]" * 38 + "c"),
    "like(:y, :x)": (A, "%a" * 95 + "b"),
    "like(:y, :x, 'z')": (E, "%_" * 60 + "b"),
    "json(:x)": (ARRAY, ""),
    "json_valid(:x)": (KEYS, ""),
    "json_type(:x, '$[1000]')": (ARRAY, ""),
    "json_array_length(:x)": (ARRAY, ""),
    "json_quote(:x)": ("\x01" * (N // 7), ""),
    "json_extract(:x, :y)": (KEYS, "$.zz"),
    "json_extract(:x, :y, '$[0]')": (DEEP, "$" + ".aaaaaaaaaa" * 900),
    ":x -> :y": ("[" * 900 + "1" + "]" * 900, "$" + "[#-1]" * 899),
    ":x ->> :y": ('["' + "\\u0041" * (N // 7) + '"]', "$[0]"),
    f"json_set(:x, {SETS})": (KEYS[: N // 2].rpartition(",")[0] + "}", ""),
    f"json_insert(:x, {APPENDS})": (ARRAY[: N // 2] + "1]", ""),
    f"json_replace(:x, {SETS})": (KEYS, ""),
    f"json_remove(:x, {FIRSTS})": (ARRAY, ""),
    "json_array(:x, :x)": (A[: N // 3], ""),
    "json_object('x', :x)": (A[: N // 2], ""),
    "(select json_group_array(value) from json_each(:x))": (ARRAY, ""),
    "(select json_group_object(key, value) from json_each(:x))": (ARRAY[: N // 4] + "1]", ""),
    "(select group_concat(value) from json_each(:x))": (ARRAY, ""),
    "(select count(*) from json_tree(:x))": (DEEP, ""),
    "quote(:x)": ("'" * (N // 3), ""),
    "hex(:x)": (A[: N // 2], ""),
    "upper(:x)": (E, ""),
    "lower(:x)": (E, ""),
    "substr(:x, -2)": (E, ""),
    "length(:x)": (E, ""),
    "unicode(:x)": (E, ""),
    "soundex(:x)": (A, ""),
    "strftime(:x, 'now')": ("%J" * (N // 30), ""),
    f"date('now', {WEEKS})": ("", ""),
    "cast(:x as real) + :x": ("1" * N, ""),
    ":x || :y": (A[: N // 2], UNLIKE[: N // 2]),
    ":x = :y collate nocase": (A, A),
    f"max({', '.join([':x', ':y'] * 45)})": (A, A),
    f"coalesce({', '.join(['nullif(:x, :y)'] * 90)})": (A, A),
    f"char({', '.join(['1000'] * 90)})": ("", ""),
    f"tmon_checksum({', '.join([':x'] * 90)})": (E, ""),
}


# Their time doesn't depend on how long texts are, or not more than length() does.
CHEAP = """
    abs acos acosh asin asinh atan atan2 atanh avg ceil ceiling changes concat concat_ws cos cosh
    count cume_dist current_date current_time current_timestamp datetime degrees dense_rank exp
    first_value floor if ifnull iif julianday lag last_insert_rowid last_value lead likelihood
    likely ln log log10 log2 median min mod nth_value ntile octet_length percent_rank percentile
    percentile_cont percentile_disc pi pow power radians random rank round row_number sign sin sinh
    sqlite_compileoption_get sqlite_compileoption_used sqlite_source_id sqlite_version sqrt
    string_agg substring subtype sum tan tanh time timediff total total_changes trunc typeof
    unistr unistr_quote unixepoch unlikely
"""
# The same as others, but for the form of what they give.
LIKE_OTHERS = re.compile("jsonb.*|json_array_insert|json_group_.*|json_error_position")
# They fail where there is no full-text table, and none can be made.
OF_FULL_TEXT = re.compile("fts5.*|bm25|highlight|snippet|offsets|matchinfo|optimize|match")


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LimitedConnection]:
    path = tmp_path_factory.mktemp("calls") / "tmon.db"
    open_database(path, create=True).close()
    connection = sqlite3.connect(path, isolation_level=None, factory=LimitedConnection)
    checksum.register(connection)
    yield connection
    connection.close()


@pytest.mark.parametrize("call", CALLS)
def test_a_call_is_short(connection: LimitedConnection, call: str) -> None:
    x, y = CALLS[call]
    began = time.thread_time()
    with suppress(sqlite3.DataError):  # what it makes is too long
        connection.execute(f"select {call}", {"x": x, "y": y}).fetchall()
    assert time.thread_time() - began < LONGEST_S


def test_each_function_is_denied_or_known() -> None:
    with sqlite3.connect(":memory:") as free:
        functions = {name for (name,) in free.execute("select name from pragma_function_list")}
    called = {name for call in CALLS for name in re.findall(r"\w+(?=\()|->>|->", call)}
    unknown = functions - called - {*CHEAP.split()} - DENIED_FUNCTIONS
    assert {
        name
        for name in unknown
        if not LIKE_OTHERS.fullmatch(name) and not OF_FULL_TEXT.fullmatch(name)
    } == set()
