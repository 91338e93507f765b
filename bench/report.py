"""docs/performance.md: the table, how it was measured, and why targets were missed."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.figures import Figure, Record
from bench.peers import INFLUX_CONFIG
from bench.scale import Scale
from bench.targets import TIMES_SIGN, Result, results

REASONS = Path(__file__).parent / "reasons.md"
PAGE = Path(__file__).parent / "page.md"


def render(record: Record, scale: Scale, threads: int) -> str:
    """The whole page."""
    lines = results(record)
    config = INFLUX_CONFIG.format(folder="…", port="…", rpc_port="…", snapshot="10m", compact="4h")
    return PAGE.read_text(encoding="utf-8").format(
        table=table(lines),
        reasons=_reasons(lines),
        figures=_all(record),
        machine=_machine(record),
        threads=threads,
        seconds=f"{scale.seconds:g}",
        nodes=f"{scale.nodes:,}",
        config=config,
    )


def table(lines: Sequence[Result]) -> str:
    """Every target with its value, ratio and verdict, as Markdown."""
    head = ["row", "work", "tmon", "beside it", "ratio", "target", "verdict"]
    return _markdown(head, [_cells(line) for line in lines])


def _cells(line: Result) -> list[str]:
    target = line.target
    beside = f"{number(line.theirs)} ({target.theirs})" if line.theirs else ""
    ratio = f"{number(line.ratio)} {TIMES_SIGN}" if line.ratio else ""
    ours = f"{number(line.ours)} {target.unit}" if line.ours is not None else ""
    return [target.id, target.work, ours, beside, ratio, target.text(), line.verdict]


def _reasons(lines: Sequence[Result]) -> str:
    """The reasons in bench/reasons.md for lines that fall short, and those to show always."""
    written = dict(
        re.findall(
            r"^## (.+)\n+((?:(?!## ).*\n?)*)", REASONS.read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    short = {line.target.id for line in lines if line.verdict == "falls short"}
    told = [
        f"**{title.removesuffix(', always')}.** {text.strip()}\n"
        for title, text in written.items()
        if title in short or title.endswith(", always")
    ]
    told += [
        f"**{name}.** No reason is written yet.\n"
        for name in sorted(short)
        if not {name, f"{name}, always"} & set(written)
    ]
    return "\n".join(["## What falls short, and why\n", *told]) if told else ""


def _all(record: Record) -> str:
    rows = [
        [name, peer, number(figure.median(peer)), _spread(figure, peer), figure.on]
        for name, figure in sorted(record.figures.items())
        for peer in figure.rounds
    ]
    head = ["figure", "of", "median", "rounds", "measured on"]
    return "## All figures\n\n" + _markdown(head, rows)


def _spread(figure: Figure, peer: str) -> str:
    return ", ".join(number(value) for value in figure.rounds[peer])


def _machine(record: Record) -> str:
    machine = record.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_gb:g} GB of memory, "
        f"{machine.kernel}; {machine.disk}, on which a sync of 4 KiB takes {machine.sync_ms:g} ms. "
        f"{versions}."
    )


def number(value: float | None) -> str:
    """A number with three significant digits, or all digits before the point, with commas."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
