"""A sensor's name hangs on its device, and stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from client import client
from tests.client.harness import Node, Once, SysfsTree

DISK = "pci0/host{host}/target{host}:0:0/{host}:0:0:0"


def disk(sysfs: SysfsTree, host: int, thousandths: int, wwid: str = "") -> Path:
    """A disk with a temperature, as drivetemp shows it; the wwid holds its serial number."""
    place = DISK.format(host=host)
    chip = sysfs.hwmon(host, place, name="drivetemp", temp1_input=str(thousandths))
    if wwid:
        sysfs.write(f"devices/{place}/wwid", f"{wwid}\n")
    return chip


def unplug(sysfs: SysfsTree, host: int) -> None:
    (sysfs.root / f"class/hwmon/hwmon{host}").unlink()


def printed(once: Once) -> dict[str, str]:
    """Names by their value."""
    words = [line.split() for line in once("--print").out.splitlines()]
    return {value: name for name, value, _ in words}


def test_two_disks_keep_their_names_when_the_host_is_renumbered(
    sysfs: SysfsTree, once: Once
) -> None:
    first, second = "t10.ATA     Samsung SSD 860  S3Z2NB0K1", "naa.5002538e40b8a1c2"
    disk(sysfs, 0, 31000, first)
    disk(sysfs, 1, 41000, second)
    before = printed(once)
    assert before == {
        "31.0": "temperature:drivetemp:S3Z2NB0K1",
        "41.0": "temperature:drivetemp:naa.5002538e40b8a1c2",
    }
    unplug(sysfs, 0)
    disk(sysfs, 2, 31000, first)
    assert printed(once) == before
    unplug(sysfs, 2)
    assert printed(once) == {"41.0": before["41.0"]}


def test_disks_without_a_serial_number_go_by_their_bus_address(
    sysfs: SysfsTree, once: Once
) -> None:
    disk(sysfs, 0, 31000)
    disk(sysfs, 1, 41000)
    assert printed(once) == {
        "31.0": "temperature:drivetemp:0-0-0-0",
        "41.0": "temperature:drivetemp:1-0-0-0",
    }
    unplug(sysfs, 0)
    assert printed(once) == {"41.0": "temperature:drivetemp:1-0-0-0"}


def test_a_thermometer_keeps_its_name_when_another_comes_and_goes(
    sysfs: SysfsTree, once: Once
) -> None:
    sysfs.thermometer("28-0316a2f2c3ff")
    alone = printed(once)
    other = sysfs.thermometer("28-0000000000aa", "")
    assert printed(once) == alone
    other.unlink()
    assert printed(once) == alone


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0", "temperature:x:0000-03-00.0"),
        ("platform/usb1/1-1/1-1.4/1-1.4:1.0", "temperature:x:1-1.4-1.0"),
        ("platform/i2c-1/1-0048", "temperature:x:1-0048"),
        ("platform/spi0/spi0.1", "temperature:x:spi0.1"),
        ("platform/soc/rp1_adc", "temperature:x"),
        ("platform/1f000c8000.adc", "temperature:x"),
        ("platform/usb1/1-1/1-1.4/1-1.4:1.0/0003:1B1C:0C10.0007", "temperature:x:1-1.4-1.0"),
    ],
)
def test_a_chips_name_has_its_bus_address(sysfs: SysfsTree, device: str, name: str) -> None:
    sysfs.hwmon(3, device, name="x", temp1_input="1")
    assert [probe.sensor for probe in client.probes(sysfs.root)] == [name]


def test_twins_that_are_built_in_are_told_apart_by_their_devices(sysfs: SysfsTree) -> None:
    for number in (0, 1):
        sysfs.hwmon(number, f"platform/coretemp.{number}", name="coretemp", temp1_input="1")
    assert [probe.sensor for probe in client.probes(sysfs.root)] == [
        "temperature:coretemp:coretemp.0",
        "temperature:coretemp:coretemp.1",
    ]


def old_station(node: Node) -> None:
    """A station on which version 0.1 has run."""
    with client.Spool(node.spool):
        pass


def test_a_station_of_version_0_1_keeps_its_names(node: Node, once: Once) -> None:
    disk(node.sysfs, 0, 31000)
    disk(node.sysfs, 1, 41000)
    node.sysfs.hwmon(7, "pci/0000:01:00.0/nvme0", name="nvme", temp1_input="50000")
    old_station(node)
    once()
    before = {
        "31.0": "temperature:drivetemp",
        "41.0": "temperature:drivetemp:2",
        "50.0": "temperature:nvme",
    }
    assert printed(once) == before
    unplug(node.sysfs, 0)
    disk(node.sysfs, 3, 61000)
    once()
    del before["31.0"]
    assert printed(once) == before | {"61.0": "temperature:drivetemp:3-0-0-0"}


def test_a_new_station_has_the_same_names_before_and_after_its_first_run(
    node: Node, once: Once
) -> None:
    disk(node.sysfs, 0, 31000)
    before = printed(once)
    assert not node.spool.parent.exists()
    once()
    once()
    assert printed(once) == before == {"31.0": "temperature:drivetemp:0-0-0-0"}


@pytest.mark.parametrize("text", ["", "[1]", "{", "\xff"])
def test_a_list_of_names_that_is_damaged_stops_nothing(node: Node, once: Once, text: str) -> None:
    disk(node.sysfs, 0, 31000)
    old_station(node)
    names = Path(f"{node.spool}.names")
    names.write_text(text, encoding="latin-1")
    assert printed(once) == {"31.0": "temperature:drivetemp"}
    once()
    assert names.read_text(encoding="latin-1") == text


def test_a_link_in_the_place_of_the_names_is_not_followed(node: Node, once: Once) -> None:
    disk(node.sysfs, 0, 31000)
    old_station(node)
    target = node.spool.parent / "target"
    Path(f"{node.spool}.names.new").symlink_to(target)
    once()
    assert not target.exists()


def test_a_pipe_in_the_place_of_the_names_holds_nothing_up(node: Node, once: Once) -> None:
    disk(node.sysfs, 0, 31000)
    old_station(node)
    os.mkfifo(f"{node.spool}.names")
    assert printed(once) == {"31.0": "temperature:drivetemp"}


@pytest.mark.parametrize("place", ["x" * 300, "file/spool.db"])
def test_a_place_in_which_no_spool_can_be_hides_no_sensor(
    node: Node, once: Once, tmp_path: Path, place: str
) -> None:
    disk(node.sysfs, 0, 31000)
    (tmp_path / "file").touch()
    ran = once("--print", TMON_SPOOL=str(tmp_path / place))
    assert ran.out == "temperature:drivetemp:0-0-0-0        31.0 °C\n"
