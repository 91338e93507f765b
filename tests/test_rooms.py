"""Imports run one way, from room to room, and never in a circle."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
LARGEST = 300  # lines of a module

# What a room may import of ours. `tmon` itself is `python -m tmon`.
BELOW_STORE = {"tmon.core", "tmon.db"}
BELOW_INGEST = {*BELOW_STORE, "tmon.store"}
ROOMS: dict[str, set[str]] = {
    "tmon.core": set(),
    "tmon.db": {"tmon.core"},
    "tmon.store": BELOW_STORE,
    "ingest": {*BELOW_INGEST, "tmon.stream"},
    "tmon.importer": BELOW_INGEST,
    "tmon.maintenance": BELOW_INGEST,
    "tmon.watch": {*BELOW_INGEST, "tmon.maintenance", "tmon.stream"},
    "tmon.mqtt": BELOW_STORE,
    "tmon.stream": BELOW_INGEST,
    "tmon.pages": {"tmon.core"},
    "plugins": {"tmon.pages"},
    "tmon.serve": {*BELOW_INGEST, "ingest", "tmon.pages", "tmon.stream"},
    "tmon.cli": {
        *BELOW_INGEST,
        *("tmon.importer", "tmon.maintenance", "tmon.mqtt", "tmon.pages", "tmon.stream"),
        "tmon.watch",
        "tmon.serve",
    },
    "tmon": {"tmon.cli"},
    "client": set(),
}


def modules() -> dict[str, Path]:
    """Every module of the product by its name; a package's is that of its ``__init__``."""
    found = {}
    for top in sorted({room.partition(".")[0] for room in ROOMS}):
        for path in (ROOT / top).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def room_of(module: str) -> str:
    """The room that a module lies in: the longest name of one that its own begins with."""
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len, default="")


def imports(module: str) -> Iterator[str]:
    """The modules of ours that a module imports, wherever in it."""
    for statement in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(statement, ast.Import):
            names = [name.name for name in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{module}: relative imports hide the room"
            whole = [f"{statement.module}.{name.name}" for name in statement.names]
            names = [name if name in MODULES else str(statement.module) for name in whole]
        else:
            continue
        yield from (name for name in names if name in MODULES)


def test_there_is_no_room_but_these() -> None:
    assert {room_of(module) for module in MODULES} == set(ROOMS)
    assert {path.name for path in (ROOT / "tmon").glob("*.py")} == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_is_below_it(room: str) -> None:
    wrong = {
        f"{module} imports {imported}"
        for module in MODULES
        if room_of(module) == room
        for imported in imports(module)
        if room_of(imported) not in {room, *ROOMS[room]}
    }
    assert wrong == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    TopologicalSorter({module: {*imports(module)} for module in MODULES}).prepare()


def test_modules_stay_small() -> None:
    lines = {
        module: len(path.read_text().splitlines())
        for module, path in MODULES.items()
        if room_of(module) != "client"
    }
    assert {module: count for module, count in lines.items() if count > LARGEST} == {}


@pytest.mark.parametrize(
    ("process", "modules", "never"),
    [
        ("ingest", "tmon.serve.processes, tmon.serve.server, ingest.app", "tmon.pages"),
        ("its writer", "tmon.serve.processes", "ingest"),
        ("Datasette", "tmon.serve.server, tmon.serve.datasette_app", "ingest.app"),
    ],
)
def test_a_process_loads_nothing_of_the_others(process: str, modules: str, never: str) -> None:
    script = f"import sys, {modules}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = ran.stdout.split()
    assert "tmon.core.settings" in loaded
    assert [name for name in loaded if f"{name}.".startswith(f"{never}.")] == [], process


def test_the_wheel_brings_two_packages_and_what_is_published(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run([*build, "--directory", str(tmp_path)], cwd=ROOT, check=True)
    [wheel] = tmp_path.glob("*.whl")
    with ZipFile(wheel) as file:
        names = file.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ingest", "tmon"}
    for published in (
        "metadata.yml",
        "datasette.yml",
        "plugins/pages.py",
        "plugins/static/tmon.css",
    ):
        assert f"tmon/published/{published}" in names
    for made in ("LC_MESSAGES/tmon.mo", "scripts.json"):
        assert f"tmon/locale/de/{made}" in names
