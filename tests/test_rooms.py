"""Imports run one way, and every module has its room."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What a module of ingest may import of ours; a new module names its room here.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "names": set(),
    "migrations.registry": set(),
    "migrations.readings": {"migrations.registry"},
    "migrations.watching": {"migrations.registry"},
    "migrations.telling": {"migrations.registry"},
    "migrations.clean": {"migrations.registry"},
    "migrations.implausible": {"migrations.registry"},
    "migrations.hours": {"migrations.registry"},
    "hours": {"schema"},
    "migrations.imports": {"migrations.registry"},
    "migrations.import_times": {"migrations.registry"},
    "database_file": set(),
    "identity": {"database_file"},
    "sqlite_errors": set(),
    "merge": {"database_file", "identity"},
    "schema": {
        *("checkpoint", "errors", "identity", "merge", "migrations", "preflight"),
        "sqlite_errors",
    },
    "settings": set(),
    "logs": set(),
    "supervisor": set(),
    "reading": {"names"},
    "units": {"reading"},
    "rate": {"errors", "reading"},
    "limits": {"errors"},
    "metrics": {"frames", "identity"},
    "deadline": set(),
    "exchange": set(),
    "request": {"limits"},
    "sending": {"limits"},
    "http": {"deadline", "exchange", "limits", "request", "sending"},
    "access": {"exchange", "http", "logs"},
    "wire.items": {"errors", "reading"},
    "wire.json": {"errors", "reading", "units", "wire.items"},
    "nodes": {"errors", "reading", "schema"},
    "restored_secret": {"database_file", "settings"},
    "tokens": {
        *("errors", "identity", "nodes", "reading", "restored_secret", "schema", "settings"),
    },
    "sensors": {"reading", "units"},
    "refusals": {"reading", "sensors", "units"},
    "log_contents": {"identity"},
    "checkpoint": {"identity", "log_contents"},
    "preflight": {
        *("checkpoint", "database_file", "errors", "identity", "log_contents", "merge"),
        "sqlite_errors",
    },
    "open_files": {"database_file", "errors", "identity"},
    "rescue": {"errors", "identity", "merge", "open_files"},
    "store": {"open_files", "reading", "refusals", "schema", "sensors", "units"},
    "wal": {"database_file", "open_files"},
    "frames": {"reading"},
    "damage": {"identity", "schema", "sqlite_errors"},
    "writer": {
        *(
            "damage",
            "errors",
            "frames",
            "hours",
            "nodes",
            "reading",
            "schema",
            "sqlite_errors",
            "store",
        ),
        "wal",
    },
    "writer_process": {"errors", "rescue", "schema", "wal", "writer"},
    "body_parser": {"errors", "reading"},
    "handover": {"errors", "frames", "reading"},
    "api": {
        "body_parser",
        "damage",
        "errors",
        "reading",
        "metrics",
        "rate",
        "limits",
        "tokens",
        "wire.json",
    },
    "app": {
        *(
            "api",
            "body_parser",
            "damage",
            "errors",
            "frames",
            "handover",
            "metrics",
            "nodes",
            "rate",
            "schema",
        ),
        *("settings", "tokens"),
    },
    "publish": {"errors", "schema", "sqlite_errors"},
    "signals": set(),
    "process": {
        "access",
        "app",
        "identity",
        "logs",
        "publish",
        "settings",
        "signals",
        "supervisor",
    },
    "serve": {"errors", "process", "schema", "settings", "signals", "tokens", "writer_process"},
    "turns": {"schema"},
    "importer.clock": {"errors", "reading"},
    "importer.columns": {"errors", "reading", "units"},
    "importer.conflicts": {"reading", "schema"},
    "importer.files": {"errors", "reading"},
    "importer.record": {"reading", "schema", "store"},
    "importer.times": {"reading"},
    "importer.numbers": {"errors", "importer.columns", "reading", "units"},
    "importer.time_format": {"errors", "importer.times", "reading"},
    "importer.flags": {
        *("errors", "importer.clock", "importer.time_format", "importer.times", "reading"),
        *("units",),
    },
    "importer.layout": {
        *("errors", "importer.columns", "importer.files", "importer.flags", "importer.numbers"),
        *("importer.time_format", "importer.times", "reading"),
    },
    "importer.doubts": {
        *("errors", "importer.columns", "importer.layout", "importer.numbers", "importer.times"),
        *("reading", "units"),
    },
    "importer.joined": {
        *("errors", "importer.columns", "importer.flags", "importer.layout", "importer.numbers"),
        *("importer.time_format", "importer.times", "reading"),
    },
    "importer.plan": {
        *("importer.columns", "importer.layout", "importer.numbers", "importer.times", "reading"),
        *("units",),
    },
    "importer.choice": {
        *("errors", "importer.columns", "importer.flags", "importer.joined", "importer.layout"),
        *("importer.numbers", "importer.time_format", "reading"),
    },
    "importer.entities": {
        *("importer.columns", "importer.doubts", "importer.flags", "importer.numbers"),
        *("importer.plan", "reading"),
    },
    "importer.rows": {
        *("errors", "importer.clock", "importer.columns", "importer.files", "importer.layout"),
        *("importer.numbers", "importer.plan", "importer.times", "reading"),
    },
    "importer.survey": {
        *("errors", "importer.columns", "importer.numbers", "importer.plan", "importer.rows"),
        *("reading",),
    },
    "importer.values": {
        *("errors", "importer.choice", "importer.columns", "importer.doubts", "importer.entities"),
        *("importer.flags", "importer.layout", "importer.numbers", "importer.plan", "reading"),
    },
    "importer.planning": {
        *("errors", "importer.choice", "importer.clock", "importer.columns", "importer.files"),
        *("importer.flags", "importer.joined", "importer.layout", "importer.plan"),
        *("importer.time_format", "importer.times", "importer.values", "reading"),
    },
    "importer.report": {
        *("importer.columns", "importer.flags", "importer.layout", "importer.plan"),
        *("importer.survey", "importer.times", "reading"),
    },
    "importer.run": {
        *("errors", "importer.conflicts", "importer.record", "importer.survey", "nodes"),
        *("reading", "schema", "store", "turns"),
    },
    "importer.command": {
        *("errors", "importer.clock", "importer.files", "importer.flags", "importer.plan"),
        *("importer.planning", "importer.record", "importer.report", "importer.rows"),
        *("importer.run", "importer.survey", "nodes", "options", "settings", "tokens"),
    },
    "options": {"errors", "logs", "schema", "settings", "sqlite_errors"},
    "running": {"settings", "tokens"},
    "__main__": {"cli"},
    "cli": {
        *("importer.command", "nodes", "options", "running", "schema", "serve", "settings"),
        *("tokens",),
    },
    "sqlite_utils_plugin": {"options", "running", "settings", "tokens"},
}

# What watch may import of ingest: across the process line the schema is the contract.
# Units and names are pure, turns only wait, hours is SQL; running asks the other process by HTTP.
SHARED = {
    *("errors", "hours", "identity", "names", "options", "restored_secret", "running", "schema"),
    *("settings", "tokens", "turns", "units"),
}

# What a module of watch may import of watch.
WATCH: dict[str, set[str]] = {
    "subjects": set(),
    "copies": set(),
    "shelf": set(),
    "backup": {"copies", "shelf", "station", "vetting", "words"},
    "vetting": {"copies", "words"},
    "restore": {"bounded", "copies", "shelf", "vetting", "words"},
    "compact": {"copies", "restore", "shelf"},
    "commands.params": {"subjects"},
    "bounded": set(),
    "messages": set(),
    "mail": {"messages"},
    "apprised": {"mail", "messages"},
    "channels": {"apprised", "mail", "messages"},
    "telling": {"bounded", "channels", "mail", "messages"},
    "ping": {"bounded"},
    "rollup": {"station"},
    "clocks": {"station", "words"},
    "ahead": {"changes", "clocks", "rollup", "subjects", "words"},
    "prune": {"clocks", "rollup"},
    "changes": set(),
    "names": {"changes", "subjects"},
    "sensors": {"subjects"},
    "replace": {"changes", "names", "rollup", "subjects"},
    "imports": {"replace", "rollup"},
    "commands.imports": {"imports", "station", "words"},
    "stats": {"clocks", "station"},
    "commands.care": {"names", "replace", "sensors", "station"},
    "commands.retention": {
        "compact",
        "commands.params",
        "prune",
        "rollup",
        "station",
        "stats",
        "words",
    },
    "corrections": {"station", "subjects", "words"},
    "findings": set(),
    "words": set(),
    "station": set(),
    "excursions": {"station"},
    "lines": {"findings", "words"},
    "limits": {"subjects", "words"},
    "mutes": {"findings", "subjects", "words"},
    "chores": {"rollup", "station", "words"},
    "checks.silence": {"findings", "station"},
    "checks.limits": {"clocks", "excursions", "findings", "station", "words"},
    "checks.asking": set(),
    "checks.answers": {"words", "checks.asking", "checks.clocks", "clocks", "findings"},
    "checks.published": {"checks.answers", "checks.asking", "findings", "station", "words"},
    "checks.rejections": {"findings", "station", "words"},
    "checks.clocks": {"ahead", "clocks", "findings", "station", "words"},
    "checks.pressure": {"clocks", "findings", "station", "words"},
    "checks.storage": {"findings", "words"},
    "checks.backups": {"findings", "station", "words"},
    "checks.integrity": {"chores", "findings", "station", "words"},
    "checks.channels": {"findings", "station", "words"},
    "checks.secret": {"checks.answers", "findings", "station"},
    "incidents": {"findings", "lines", "mutes", "station"},
    "check": {
        *("checks.answers", "checks.backups", "checks.channels", "checks.clocks"),
        *("checks.integrity", "checks.limits", "checks.pressure", "checks.published"),
        *("checks.rejections", "checks.secret", "checks.silence", "checks.storage"),
        *("chores", "findings", "incidents", "lines", "mutes", "station"),
    },
    "notify": {"check", "incidents", "ping", "shelf", "station", "telling"},
    "commands.check": {"check", "checks.answers", "findings", "notify", "station", "words"},
    "commands.ahead": {"ahead", "clocks", "commands.params", "station", "words"},
    "commands.limit": {"commands.params", "limits", "station", "subjects"},
    "commands.mute": {"commands.params", "mutes", "station"},
    "commands.correct": {"commands.params", "corrections", "station", "subjects"},
    "commands.backup": {"backup", "restore", "station"},
}


def imports(path: Path) -> Iterator[str]:
    """The modules a file imports, wherever in it."""
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            yield from (name.name for name in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{path}: relative imports hide the room"
            yield str(statement.module)
            yield from (f"{statement.module}.{name.name}" for name in statement.names)


def modules(folder: str) -> dict[str, Path]:
    found = {
        ".".join(path.relative_to(ROOT / folder).with_suffix("").parts): path
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert found
    return found


def test_every_module_of_ingest_has_a_room() -> None:
    assert set(modules("ingest")) == set(ROOMS)


@pytest.mark.parametrize("name", ROOMS)
def test_a_module_imports_only_what_its_room_allows(name: str) -> None:
    found = imports(modules("ingest")[name])
    ours = {module.removeprefix("ingest.") for module in found if module.startswith("ingest.")}
    assert ours & set(ROOMS) <= ROOMS[name]


def test_every_module_of_watch_has_a_room() -> None:
    assert set(modules("watch")) == set(WATCH)


@pytest.mark.parametrize("name", WATCH)
def test_a_module_of_watch_imports_only_what_its_room_allows(name: str) -> None:
    found = {*imports(modules("watch")[name])}
    ours = {module.removeprefix("watch.") for module in found if module.startswith("watch.")}
    assert ours & set(WATCH) <= WATCH[name]
    theirs = {module.removeprefix("ingest.") for module in found if module.startswith("ingest.")}
    assert theirs & set(ROOMS) <= SHARED


def test_only_the_commands_know_of_watch() -> None:
    assert {
        name
        for name, path in modules("ingest").items()
        if any(module.partition(".")[0] == "watch" for module in imports(path))
    } == {"cli"}


@pytest.mark.parametrize("folder", ["client", "plugins"])
def test_client_and_plugins_import_nothing_of_ours(folder: str) -> None:
    for path in modules(folder).values():
        tops = {module.partition(".")[0] for module in imports(path)}
        assert not tops & {"ingest", "watch", "client", "plugins"}, path


def test_modules_stay_small() -> None:
    for name, path in {**modules("ingest"), **modules("watch"), **modules("plugins")}.items():
        assert len(path.read_text().splitlines()) <= 300, name
