"""T01: silence is found, with an event when it begins and when it ends."""

from tests.watch.watched import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, Watched


def test_a_sensor_is_silent_when_latest_says_so_at_the_instant_given(watched: Watched) -> None:
    watched.node("basement")
    sensor = watched.sensor("basement")
    watched.every_minute(sensor, *[20.0] * 60)
    assert watched.found(NOW_MS + 14 * MINUTE_MS, "T01") == []
    [line] = watched.found(NOW_MS + 16 * MINUTE_MS, "T01")
    assert line.startswith("T01 warning: basement/temperature: silent, since 2026-11-22 12:00 UTC.")


def test_an_incident_has_an_event_at_its_begin_daily_and_at_its_end(watched: Watched) -> None:
    watched.node("basement")
    sensor = watched.sensor("basement")
    watched.every_minute(sensor, 20.0, 20.0)
    told = [watched.run(NOW_MS + hour * HOUR_MS) for hour in range(50)]
    assert [hour for hour, lines in enumerate(told) if lines] == [1, 25, 49]
    assert told[1] == [("began", "basement/temperature: silent, since 2026-11-22 12:00 UTC")]
    assert told[25] == [
        ("goes on", "basement/temperature: still silent, since 2026-11-22 12:00 UTC")
    ]
    watched.measure(sensor, [(NOW_MS + 50 * HOUR_MS, 20.0)])
    [(what, line)] = watched.run(NOW_MS + 50 * HOUR_MS)
    assert what == "ended"
    assert line == (
        "basement/temperature: over, from 2026-11-22 12:00 UTC to 2026-11-24 14:00 UTC"
        " (2 d 2 h): silent"
    )
    assert watched.run(NOW_MS + 50 * HOUR_MS) == []
    assert watched.incidents() == [("T01", NOW_MS, NOW_MS + 50 * HOUR_MS)]


def test_sensors_of_a_node_that_are_all_silent_share_a_line(watched: Watched) -> None:
    watched.node("basement")
    watched.node("attic")
    for name in ("a", "b", "c"):
        watched.every_minute(watched.sensor("basement", name), 1.0, 1.0)
    watched.every_minute(watched.sensor("attic", "a"), 1.0, 1.0)
    watched.every_minute(watched.sensor("attic", "b"), 1.0, 1.0, until_ms=NOW_MS + HOUR_MS)
    told = watched.run(NOW_MS + HOUR_MS)
    assert told == [
        ("began", "attic/a: silent, since 2026-11-22 12:00 UTC"),
        ("began", "basement: all 3 sensors silent, since 2026-11-22 12:00 UTC"),
    ]
    assert len(watched.found(NOW_MS + HOUR_MS, "T01")) == 2
    assert len(watched.incidents("T01")) == 4


def test_some_silent_sensors_of_a_node_are_named(watched: Watched) -> None:
    watched.node("attic")
    for name in "abcdefgh":
        late = HOUR_MS if name == "h" else 0
        watched.every_minute(watched.sensor("attic", name), 1.0, 1.0, until_ms=NOW_MS + late)
    [line] = watched.found(NOW_MS + HOUR_MS, "T01")
    assert "attic: 7 of 8 sensors silent (a, b, c, d, e and 2 more), since" in line


def test_revoked_nodes_and_imported_sensors_are_not_silent(watched: Watched) -> None:
    watched.node("revoked", revoked_ms=1)
    watched.node("imported", last_received_ms=None)
    watched.node("awaited", last_received_ms=None, silent_after_s=60)
    for node in ("revoked", "imported", "awaited"):
        watched.every_minute(watched.sensor(node, imported=node != "revoked"), 1.0, 1.0)
    [line] = watched.found(NOW_MS + HOUR_MS, "T01")
    assert "awaited/temperature" in line


def test_a_node_that_never_sent_is_silent_only_if_silent_after_is_set(watched: Watched) -> None:
    watched.node("new", created_ms=NOW_MS, last_received_ms=None, silent_after_s=3600)
    watched.node("unsaid", created_ms=NOW_MS, last_received_ms=None)
    assert watched.found(NOW_MS + 59 * MINUTE_MS, "T01") == []
    [line] = watched.found(NOW_MS + 61 * MINUTE_MS, "T01")
    assert line.startswith("T01 warning: new: never heard, since 2026-11-22 12:00 UTC")


def test_a_renamed_node_and_a_moved_sensor_keep_their_incident(watched: Watched) -> None:
    watched.node("basement")
    watched.node("cellar")
    watched.every_minute(watched.sensor("basement"), 1.0, 1.0)
    assert len(watched.run(NOW_MS + HOUR_MS)) == 1
    watched.db.execute("update nodes set name = 'vault' where name = 'basement'")
    assert watched.run(NOW_MS + 2 * HOUR_MS) == []
    watched.db.execute("update sensors set node = 'cellar'")
    assert watched.run(NOW_MS + 3 * HOUR_MS) == []
    assert len(watched.incidents("T01")) == 1


def test_a_reminder_waits_for_a_day_since_the_last(watched: Watched) -> None:
    watched.node("basement")
    watched.every_minute(watched.sensor("basement"), 1.0, 1.0)
    watched.run(NOW_MS + HOUR_MS)
    assert watched.run(NOW_MS + HOUR_MS + DAY_MS - 1) == []
    assert len(watched.run(NOW_MS + HOUR_MS + DAY_MS)) == 1
