"""What takes too long says so, and leads to what does not."""

from html import unescape

from tests.publish.published import ENDLESS, Site


def test_sql_that_takes_too_long_is_there_to_be_changed(limited: Site) -> None:
    answer = limited.get("/tmon/-/query", sql=ENDLESS)
    assert answer.status_code == 400
    assert "This takes longer than a query may." in answer.text
    assert f'rows="2">{ENDLESS}</textarea>' in unescape(answer.text)


def test_a_table_that_takes_too_long_leads_to_its_newest_rows(limited: Site) -> None:
    answer = limited.get("/tmon/readings", _where=f"({ENDLESS}) > 0", sensor="1")
    assert answer.status_code == 400
    assert "This takes longer than a query may." in answer.text
    assert ">The last 24 hours alone</a>" in answer.text
    assert "measured_ms__gte=" in answer.text
    assert "sensor=1" in unescape(answer.text)


def test_programs_are_told_in_one_sentence(limited: Site) -> None:
    answer = limited.ask(ENDLESS)
    assert answer.status_code == 400
    assert set(answer.json()) >= {"ok", "error", "status"}
    assert "sql" not in answer.json()
