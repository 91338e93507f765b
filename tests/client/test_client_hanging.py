"""One sensor never stops another: whatever it raises, and however long it takes."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from client import client
from tests.client.harness import CLIENT, Node, Once, SysfsTree, scratchpad, wait_until

DEAD = scratchpad(" ".join(["ff"] * 9), -62, crc="NO")


@pytest.fixture(scope="module")
def badread(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library that makes reads fail with an errno, or take their time."""
    library = tmp_path_factory.mktemp("badread") / "badread.so"
    source = Path(__file__).with_name("badread.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return str(library)


@contextmanager
def hanging(file: Path) -> Iterator[None]:
    """Let every read of the file wait for ever."""
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    keeper = os.open(file, os.O_RDWR)  # else the opening would wait
    try:
        yield
    finally:
        os.close(keeper)


def answers(
    others: Iterable[client.Probe] = (), root: Path = Path("/nowhere"), give_up_s: float = 30
) -> dict[str, float | str]:
    """The value of each sensor, or why it has none; ``others`` need no listing."""
    plan = client.ReadPlan(partial(client.find_devices, root), list(others))
    return told(client.read_sensors(plan, client.Clock(), give_up_s))


def told(outcomes: client.Outcomes) -> dict[str, float | str]:
    values = {reading.sensor: reading.value for reading in outcomes.readings}
    return {**values, **dict(outcomes.failures)}


def processes() -> list[tuple[int, int, str]]:
    """Everything that runs on this machine: its number, its parent's, and its command line."""
    ran = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,args="], check=True, capture_output=True, text=True
    )
    lines = (line.split(None, 2) for line in ran.stdout.splitlines())
    return [(int(number), int(parent), " ".join(args)) for number, parent, *args in lines]


def children(process: int) -> set[int]:
    return {n for n, parent, args in processes() if parent == process and "ps -eo" not in args}


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EIO, errno.ENODATA, errno.ETIMEDOUT])
def test_a_sensor_that_answers_an_error_fails_alone(node: Node, badread: str, number: int) -> None:
    node.sysfs.zone(0, "cpu-thermal", 45100)
    node.sysfs.zone(1, "iwlwifi_1", 0)
    node.sysfs.zone(2, "gpu-thermal", 44000)
    rule = f"thermal_zone1/temp={number}"
    ran = node.run("--print", LD_PRELOAD=badread, BADREAD=rule)
    assert ran.status == 0
    assert [line.split()[:2] for line in ran.out.splitlines()] == [
        ["temperature:cpu-thermal", "45.1"],
        ["temperature:gpu-thermal", "44.0"],
    ]
    assert f"thermal_zone1/temp: {os.strerror(number)}\n" in ran.err


def test_a_chip_whose_name_cannot_be_read_goes_by_no_other(node: Node, badread: str) -> None:
    node.sysfs.zone(0, "cpu-thermal", 45100)
    node.sysfs.zone(1, "gpu-thermal", 44000)
    rule = f"thermal_zone0/type={errno.EAGAIN}"
    ran = node.run("--print", LD_PRELOAD=badread, BADREAD=rule)
    assert ran.out == "temperature:gpu-thermal        44.0 °C\n"
    assert "thermal_zone0: Resource temporarily unavailable\n" in ran.err


@pytest.mark.parametrize(
    "error",
    [
        TypeError("can't concat NoneType to bytes"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        MemoryError(),
        RecursionError("too deep"),
        KeyError("MemTotal"),
    ],
)
def test_whatever_a_probe_raises_it_fails_alone(error: Exception) -> None:
    def fail() -> float:
        raise error

    bad = client.Probe("bad", None, "a chip", fail, attempts=1)
    good = client.Probe("good", None, "another", lambda: 7.0)
    answered = answers([bad, good])
    assert answered["good"] == 7
    assert str(answered["bad"]).startswith(f"a chip: {type(error).__name__}")


def test_files_of_any_content_fail_alone(sysfs: SysfsTree, once: Once) -> None:
    sysfs.zone(0, "cpu-thermal", 45100)
    for number in range(1, 7):
        sysfs.zone(number, f"bad{number}", 0).unlink()
    zones = sysfs.root / "class" / "thermal"
    (zones / "thermal_zone1" / "temp").write_bytes(b"\xff\xfe45\x00")
    (zones / "thermal_zone2" / "temp").write_bytes(b"")
    (zones / "thermal_zone3" / "temp").symlink_to("/dev/zero")
    (zones / "thermal_zone4" / "temp").symlink_to("/proc/self/mem")
    (zones / "thermal_zone5" / "temp").mkdir()
    (zones / "thermal_zone6" / "temp").symlink_to("/nowhere")
    (zones / "thermal_zone7").mkdir()
    (zones / "thermal_zone8").symlink_to("/nowhere")
    ran = once("--print")
    assert ran.out == "temperature:cpu-thermal        45.1 °C\n"
    reasons = {line.split(": ", 2)[0].removeprefix("temperature:"): line for line in ran.said}
    assert "no number: it is empty" in reasons["bad2"]
    assert "no number" in reasons["bad1"]
    assert "no number" in reasons["bad3"]
    assert os.strerror(errno.EIO) in reasons["bad4"]
    assert os.strerror(errno.EISDIR) in reasons["bad5"]
    assert os.strerror(errno.ENOENT) in reasons["bad6"]


def test_a_read_that_never_returns_is_left_alone(sysfs: SysfsTree) -> None:
    sysfs.zone(0, "cpu-thermal", 45100)
    before = children(os.getpid())
    with hanging(sysfs.zone(1, "wedged", 0)):
        began = time.monotonic()
        answered = answers(root=sysfs.root, give_up_s=1)
        assert 1 <= time.monotonic() - began < 20
    assert answered["temperature:cpu-thermal"] == 45.1
    assert str(answered["temperature:wedged"]).endswith("temp: no answer within 1 s")
    assert children(os.getpid()) == before


@pytest.mark.parametrize(
    "file", ["name", "device/serial", "device/wwid", "in1_label", "temp1_label"]
)
def test_a_file_that_hangs_in_the_listing_stops_its_chip_only(sysfs: SysfsTree, file: str) -> None:
    sysfs.zone(0, "cpu-thermal", 45100)
    chip = sysfs.hwmon(0, "pci0000:00/nvme0", name="nvme", temp1_input="1", in1_input="1")
    sysfs.hwmon(1, "i2c-1/1-0048", name="lm75", temp1_input="20000")
    with hanging(chip / file):
        began = time.monotonic()
        found = answers([client.Probe("load", "1", "it", lambda: 0.5)], sysfs.root, give_up_s=4)
        assert time.monotonic() - began < 4
    link = sysfs.root / "class/hwmon/hwmon0"
    assert found == {
        "hwmon0": f"{link}: it can't be listed within 1 s",
        "load": 0.5,
        "temperature:cpu-thermal": 45.1,
        "temperature:lm75:1-0048": 20.0,
    }


def test_more_chips_than_threads_that_hang_are_passed_by(sysfs: SysfsTree) -> None:
    count = client.THREADS + client.UNLISTED_MAX
    kept = [hanging(sysfs.zone(n, "x", 0).with_name("type")) for n in range(count)]
    sysfs.hwmon(0, "i2c-1/1-0048", name="lm75", temp1_input="20000")
    with ExitStack() as stack:
        for file in kept:
            stack.enter_context(file)
        found = answers(root=sysfs.root, give_up_s=8)
    assert found["temperature:lm75:1-0048"] == 20
    line = f"{count} of {count + 1} devices are left out, as they can't be listed"
    assert found["sensors"] == line
    assert len(found) == client.UNLISTED_MAX + 2


def test_thousands_of_sensors_are_read_in_time(sysfs: SysfsTree) -> None:
    for number in range(1000):
        sysfs.zone(number, f"zone{number}", 45100)
    for number in range(300):
        sysfs.hwmon(number, f"platform/x.{number}", name=f"x{number}", temp1_input="1000")
    found = answers(root=sysfs.root)
    assert len(found) == 1300
    assert set(found.values()) == {45.1, 1.0}


def test_those_that_failed_last_time_hold_up_no_others() -> None:
    """A dead thermometer holds its bus, which all of the others wait for."""
    bus = threading.Lock()

    def read(seconds: float) -> float:
        with bus:
            time.sleep(seconds)
        if seconds > 0.1:
            raise client.BadReading("no chip answered")
        return 23.125

    dead = [client.Probe(f"dead{n}", "°C", f"dead {n}", partial(read, 1)) for n in range(12)]
    good = [client.Probe(f"good{n}", "°C", f"good {n}", partial(read, 0.1)) for n in range(3)]
    plan = client.ReadPlan(
        lambda: [client.Device(Path("x"), lambda _: [*dead, *good])],
        failing={probe.sensor for probe in dead},
    )
    outcomes = client.read_sensors(plan, client.Clock(), give_up_s=2)
    assert sorted(reading.sensor for reading in outcomes.readings) == ["good0", "good1", "good2"]


def test_those_that_failed_are_known_to_the_next_run(node: Node, once: Once) -> None:
    node.sysfs.thermometer("28-0000000000aa", DEAD)
    node.sysfs.thermometer()
    once()
    news = client.Reporter(str(node.spool), client.Clock(), verbose=False, everything=False)
    assert news.failing() == {"temperature:28-0000000000aa"}


def test_chips_that_cannot_be_found_in_time_end_no_run() -> None:
    plan = client.ReadPlan(partial(time.sleep, 60))  # type: ignore[arg-type]
    failures = client.read_sensors(plan, client.Clock(), 0.5).failures
    assert failures == [("sensors", "they can't be listed within 0.5 s")]


def test_what_the_finding_raises_ends_no_run() -> None:
    def find() -> list[client.Device]:
        raise MemoryError

    plan = client.ReadPlan(find, [client.Probe("a", None, "it", lambda: 7.0)])
    outcomes = client.read_sensors(plan, client.Clock())
    assert outcomes.failures == [("sensors", "MemoryError:")]
    assert told(outcomes)["a"] == 7


def test_a_file_that_never_opens_is_left_alone(sysfs: SysfsTree) -> None:
    file = sysfs.zone(0, "wedged", 0)
    file.unlink()
    os.mkfifo(file)
    before = children(os.getpid())
    answered = answers(root=sysfs.root, give_up_s=0.5)
    assert answered == {"temperature:wedged": f"{file}: no answer within 0.5 s"}
    assert children(os.getpid()) == before


def test_a_later_run_passes_by_what_an_earlier_one_still_reads(node: Node) -> None:
    """So that runs don't pile up, each with a process that can't be killed."""
    node.sysfs.zone(0, "cpu-thermal", 45100)
    with hanging(node.sysfs.zone(1, "wedged", 0)), node.start("--print") as first:
        wait_until(lambda: "thermal_zone1" in open_files(first.pid))
        second = node.run("--print")
        assert second.out == "temperature:cpu-thermal        45.1 °C\n"
        assert "thermal_zone1/temp: another run is still reading it\n" in second.err
        assert first.poll() is None
        readers = children(first.pid)
        first.kill()
    wait_until(lambda: not readers & {number for number, _, _ in processes()})


def open_files(process: int) -> str:
    """What the children of a process have open."""
    return " ".join(files_of(child) for child in children(process))


def files_of(process: int) -> str:
    names = []
    for link in Path(f"/proc/{process}/fd").glob("*"):
        with suppress(OSError):  # closed since
            names.append(str(link.readlink()))
    return " ".join(names)


def test_dead_thermometers_do_not_hold_the_others_up(node: Node, badread: str) -> None:
    """A dead one holds its reader for 4.3 s on older kernels, at each attempt."""
    for number in range(8):
        node.sysfs.thermometer(f"28-00000000000{number}", DEAD)
    for number in range(8, 10):
        node.sysfs.thermometer(f"28-00000000000{number}")
    rules = ",".join(f"00000{number}/w1_slave=0:1" for number in range(8))
    began = time.monotonic()
    ran = node.run("--print", LD_PRELOAD=badread, BADREAD=rules)
    assert time.monotonic() - began < 15
    assert ran.out.count("23.125 °C") == 2
    assert ran.err.count("no chip answered") == 8


def test_many_good_thermometers_on_one_bus_are_all_given_their_time() -> None:
    """The kernel lets those without a supply of their own convert one after the other."""
    bus = threading.Lock()

    def convert() -> float:
        with bus:
            time.sleep(0.15)
            return 23.125

    found = [client.Probe(f"t{n}", "°C", f"chip {n}", convert) for n in range(20)]
    answered = answers(found, give_up_s=2)  # two thirds of what they take
    assert set(answered.values()) == {23.125}


def test_a_hanging_command_does_not_stop_the_next() -> None:
    commands = ["a=sleep 61", "b=echo 2", "c=sleep 62 | cat", "d=echo 4"]
    answered = answers(client.command_probes(commands), give_up_s=2)
    assert (answered["b"], answered["d"]) == (2, 4)
    assert [str(answered[name]).endswith("no answer within 2 s") for name in "ac"] == [True, True]
    wait_until(lambda: not {"sleep 61", "sleep 62"} & {args for _, _, args in processes()})


def test_a_reader_that_is_killed_costs_its_sensors_only(sysfs: SysfsTree, once: Once) -> None:
    sysfs.zone(0, "cpu-thermal", 45100)
    ran = once("--print", "--command", "a=sleep 0.3; kill -9 $(ps -o ppid= -p $$)")
    assert "temperature:cpu-thermal" in ran.out
    assert "a: " in ran.err


def test_a_parent_that_ignores_its_children_changes_nothing(node: Node) -> None:
    node.sysfs.zone(0, "cpu-thermal", 45100)
    ran = subprocess.run(
        ["env", "--ignore-signal=CHLD", sys.executable, CLIENT, "--print"],
        check=True,
        env={"PATH": os.environ["PATH"], **node.environ},
        capture_output=True,
        text=True,
    )
    assert (ran.stdout, ran.stderr) == ("temperature:cpu-thermal        45.1 °C\n", "")


def test_a_parent_that_ignores_its_children_hides_no_exit_status(node: Node) -> None:
    command = ["--print", "--command", "a=echo 1; exit 3"]
    ran = subprocess.run(
        ["env", "--ignore-signal=CHLD", sys.executable, str(CLIENT), *command],
        check=False,
        env={"PATH": os.environ["PATH"], **node.environ},
        capture_output=True,
        text=True,
    )
    assert ran.stdout == ""
    assert "exit status 3" in ran.stderr


def test_sigterm_while_a_sensor_hangs_ends_the_run_and_its_reader(node: Node) -> None:
    with hanging(node.sysfs.zone(0, "wedged", 0)), node.start("--print") as running:
        wait_until(lambda: "thermal_zone0" in open_files(running.pid))
        readers = children(running.pid)
        running.send_signal(signal.SIGTERM)
        running.wait(timeout=60)
    wait_until(lambda: not readers & {number for number, _, _ in processes()})


@pytest.mark.soak
@pytest.mark.parametrize(("file", "limit"), [("temp", "within 12 s"), ("type", "within 3 s")])
def test_a_run_with_a_wedged_driver_ends_within_15_s(
    node: Node, badread: str, file: str, limit: str
) -> None:
    node.sysfs.zone(0, "cpu-thermal", 45100)
    node.sysfs.zone(1, "wedged", 0)
    node.fill(3)
    for flag in ("--verbose", "--print"):
        began = time.monotonic()
        ran = node.run(flag, LD_PRELOAD=badread, BADREAD=f"thermal_zone1/{file}=0:600")
        assert time.monotonic() - began < 15
        assert limit in ran.err
        assert flag == "--print" or "sent 4 readings" in ran.err


def test_a_lock_does_not_last_as_long_as_a_sensor_hangs(sysfs: SysfsTree, tmp_path: Path) -> None:
    """With --loop, sensors are asked while another thread is sending."""
    lock = tmp_path / "lock"
    with hanging(sysfs.zone(0, "wedged", 0)):
        ask = partial(answers, root=sysfs.root)
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            thread = threading.Thread(target=ask, daemon=True)
            before = children(os.getpid())
            thread.start()
            wait_until(lambda: children(os.getpid()) > before)
            (reader,) = children(os.getpid()) - before
            wait_until(lambda: str(lock) not in files_of(reader))
        with lock.open("w") as again:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.kill(reader, signal.SIGKILL)
        thread.join(60)
