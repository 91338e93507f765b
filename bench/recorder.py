"""How much Home Assistant's recorder writes for the same readings, into its table by its settings.

``python bench/recorder.py FILE SENSORS WARM ROUNDS`` prints the bytes written per reading. The
table is ``states`` of its schema (components/recorder/db_schema.py), with all its indexes. The
recorder commits the changes of five seconds, in WAL mode with synchronous=NORMAL. Its events,
attributes and five-minute statistics are left out.
"""

import os
import sqlite3
import sys
import time
from pathlib import Path

COMMIT_S = 5
MINUTE_S = 60  # each sensor changes once a minute, evenly spread

SCHEMA = """
pragma journal_mode = wal;
pragma synchronous = normal;
pragma cache_size = -16384;
create table states (
    state_id integer primary key, entity_id char(0), state varchar(255), attributes char(0),
    event_id smallint, last_changed char(0), last_changed_ts float, last_reported_ts float,
    last_updated char(0), last_updated_ts float,
    old_state_id integer references states (state_id), attributes_id integer,
    context_id char(0), context_user_id char(0), context_parent_id char(0), origin_idx smallint,
    context_id_bin blob, context_user_id_bin blob, context_parent_id_bin blob, metadata_id integer
);
create index ix_states_metadata_id_last_updated_ts on states (metadata_id, last_updated_ts);
create index ix_states_context_id_bin on states (context_id_bin);
create index ix_states_last_updated_ts on states (last_updated_ts);
create index ix_states_old_state_id on states (old_state_id);
create index ix_states_attributes_id on states (attributes_id);
"""
INSERT = """
insert into states (state, last_updated_ts, old_state_id, attributes_id, origin_idx,
    context_id_bin, metadata_id)
values (?, ?, ?, ?, 0, ?, ?)
"""


def main() -> None:
    path, sensors, warm, rounds = sys.argv[1], *map(int, sys.argv[2:])
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(SCHEMA)
    before = 0
    newest: dict[int, int | None] = {}
    began_s = time.time()
    for number in range(warm + rounds):
        if number == warm:
            before = written_bytes()
        for first in range(0, sensors, sensors * COMMIT_S // MINUTE_S):
            db.execute("begin immediate")
            for sensor in range(first, min(first + sensors * COMMIT_S // MINUTE_S, sensors)):
                at_s = began_s + number * MINUTE_S + sensor * MINUTE_S / sensors
                context = int(at_s * 1000).to_bytes(6, "big") + os.urandom(10)  # a ULID
                state = f"{20 + number % 50 / 8}"
                row = (state, at_s, newest.get(sensor), sensor, context, sensor)
                newest[sensor] = db.execute(INSERT, row).lastrowid
            db.execute("commit")
    print((written_bytes() - before) / (rounds * sensors))


def written_bytes() -> int:
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
