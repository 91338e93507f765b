"""A sensor's name hangs on its device, and stays."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from client import client
from tests.client.harness import Node, Once, SysfsTree, probes

DISK = "pci0000:00/0000:00:17.0/ata{host}/host{host}/target{host}:0:0/{host}:0:0:0"


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
        "31.0": "temperature:drivetemp:ata0",
        "41.0": "temperature:drivetemp:ata1",
    }
    unplug(sysfs, 0)
    assert printed(once) == {"41.0": "temperature:drivetemp:ata1"}


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
        ("platform/usb1/1-1/1-1.4/1-1.4:1.0", "temperature:x:usb-1.4-1.0"),
        ("platform/i2c-1/1-0048", "temperature:x:1-0048"),
        ("platform/spi0/spi0.1", "temperature:x:spi0.1"),
        ("platform/soc/rp1_adc", "temperature:x"),
        ("platform/1f000c8000.adc", "temperature:x"),
        ("platform/usb1/1-1/1-1.4/1-1.4:1.0/0003:1B1C:0C10.0007", "temperature:x:usb-1.4-1.0"),
    ],
)
def test_a_chips_name_has_its_bus_address(sysfs: SysfsTree, device: str, name: str) -> None:
    sysfs.hwmon(3, device, name="x", temp1_input="1")
    assert [probe.sensor for probe in probes(sysfs.root)] == [name]


def test_twins_that_are_built_in_are_told_apart_by_their_devices(sysfs: SysfsTree) -> None:
    for number in (0, 1):
        sysfs.hwmon(number, f"platform/coretemp.{number}", name="coretemp", temp1_input="1")
    assert [probe.sensor for probe in probes(sysfs.root)] == [
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
    assert printed(once) == before | {"61.0": "temperature:drivetemp:ata3"}


def test_a_new_station_has_the_same_names_before_and_after_its_first_run(
    node: Node, once: Once
) -> None:
    disk(node.sysfs, 0, 31000)
    before = printed(once)
    assert not node.spool.parent.exists()
    once()
    once()
    assert printed(once) == before == {"31.0": "temperature:drivetemp:ata0"}


@pytest.mark.parametrize("text", ["", "[1]", "{", "\xff"])
def test_a_list_of_names_that_is_damaged_is_told_once_and_put_aside(
    node: Node, once: Once, text: str
) -> None:
    disk(node.sysfs, 0, 31000)
    old_station(node)
    names = Path(f"{node.spool}.names")
    names.write_text(text, encoding="latin-1")
    assert printed(once) == {"31.0": "temperature:drivetemp"}
    (line,) = once().said
    (aside,) = names.parent.glob("*.names.corrupt-*")
    assert aside.read_text(encoding="latin-1") == text
    assert line.endswith(f"is damaged: 0 sensors' names could be read in it; it is now {aside}")
    assert once().said == []
    assert printed(once) == {"31.0": "temperature:drivetemp"}


def test_what_is_whole_in_a_damaged_list_of_names_is_kept(node: Node, once: Once) -> None:
    for number in (0, 1):
        disk(node.sysfs, number, 31000 + number * 10_000)
    old_station(node)
    once()
    before = printed(once)
    names = Path(f"{node.spool}.names")
    text = names.read_text()
    names.write_text(text[text.index(",") :])  # of the second only
    unplug(node.sysfs, 0)
    once()
    assert printed(once) == {"41.0": before["41.0"]} == {"41.0": "temperature:drivetemp:2"}


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
    assert ran.out == "temperature:drivetemp:ata0        31.0 °C\n"


def dock(host: int, port: str, root: str = "usb1") -> str:
    """A disk behind USB, whose host, and whose bus, the kernel counts as they turn up."""
    bus = root.removeprefix("usb")
    ports = f"{bus}-1/{bus}-1.{port}/{bus}-1.{port}:1.0"
    return f"platform/xhci/{root}/{ports}/host{host}/target{host}:0:0/{host}:0:0:0"


def mux(sysfs: SysfsTree, bus: int, channel: int) -> str:
    """An I2C bus behind a multiplexer, as the kernel shows it."""
    place = f"platform/soc/i2c-1/i2c-{bus}"
    sysfs.write(f"devices/{place}/name", f"i2c-1-mux (chan_id {channel})\n")
    chip = sysfs.root / "devices/platform/soc/i2c-1/1-0070"
    chip.mkdir(exist_ok=True)
    link = sysfs.root / "devices" / place / "mux_device"
    link.unlink(missing_ok=True)
    link.symlink_to(chip)
    return f"{place}/{bus}-0076"


PLACES = {
    "disks behind USB": (dock(0, "1"), dock(1, "2"), dock(1, "1", "usb2"), dock(0, "2", "usb2")),
    "NVMe": (
        "pci0000:00/0000:01:00.0/nvme/nvme0",
        "pci0000:00/0000:02:00.0/nvme/nvme1",
        "pci0000:00/0000:01:00.0/nvme/nvme1",
        "pci0000:00/0000:02:00.0/nvme/nvme0",
    ),
    "I2C adapters behind USB": (
        "platform/usb1/1-1/1-1:1.0/i2c-11/11-0076",
        "platform/usb1/1-2/1-2:1.0/i2c-12/12-0076",
        "platform/usb1/1-1/1-1:1.0/i2c-12/12-0076",
        "platform/usb1/1-2/1-2:1.0/i2c-11/11-0076",
    ),
    "HID": (
        "platform/usb1/1-1/1-1:1.0/0003:1B1C:0C10.0001",
        "platform/usb1/1-2/1-2:1.0/0003:1B1C:0C10.0002",
        "platform/usb1/1-1/1-1:1.0/0003:1B1C:0C10.0002",
        "platform/usb1/1-2/1-2:1.0/0003:1B1C:0C10.0001",
    ),
}


@pytest.mark.parametrize("serial", ["", "00000000", "2231A4800123"])
@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
def test_twins_go_by_their_places_whatever_the_kernel_counts(
    tmp_path: Path, places: tuple[str, str, str, str], serial: str
) -> None:
    names = []
    for boot in (0, 1):
        sysfs = SysfsTree(tmp_path / str(boot))
        for number, place in enumerate(places[2 * boot : 2 * boot + 2]):
            sysfs.hwmon(number ^ boot, place, name="x", temp1_input=f"{number + 1}000")
            sysfs.write(f"devices/{place}/serial", serial)
        found = {probe.read(): probe.sensor for probe in probes(sysfs.root)}
        names.append(found)
    assert names[0] == names[1]
    assert not re.search(r":\d$", names[0][1.0] + names[0][2.0])


def test_channels_of_a_multiplexer_are_told_apart_by_their_numbers(tmp_path: Path) -> None:
    for boot, buses in enumerate(((21, 22), (22, 21))):
        sysfs = SysfsTree(tmp_path / str(boot))
        for channel, bus in enumerate(buses):
            chip = mux(sysfs, bus, channel)
            sysfs.iio(channel, chip, name="bme280", in_temp_input=f"{channel}000")
        assert {probe.read(): probe.sensor for probe in probes(sysfs.root)} == {
            0.0: "temperature:bme280:1-0070-0-0076",
            1.0: "temperature:bme280:1-0070-1-0076",
        }


def test_a_chip_that_fails_at_a_new_stations_first_run_renames_no_other(
    node: Node, once: Once
) -> None:
    disk(node.sysfs, 0, 31000)
    (node.sysfs.root / "class/thermal/thermal_zone0/type").mkdir(parents=True)
    for _ in range(3):
        once()
        assert printed(once) == {"31.0": "temperature:drivetemp:ata0"}


def test_a_second_twin_does_not_rename_the_first(node: Node, once: Once) -> None:
    first, second = "pci0000:00/0000:01:00.0/nvme/nvme0", "pci0000:00/0000:02:00.0/nvme/nvme1"
    node.sysfs.hwmon(0, first, name="nvme", temp1_input="31000")
    node.sysfs.write(f"devices/{first}/serial", "2231A4800123")
    once()
    before = printed(once)
    node.sysfs.hwmon(1, second, name="nvme", temp1_input="41000")
    node.sysfs.write(f"devices/{second}/serial", "2231A4800123")
    once()
    both = printed(once)
    assert before == {"31.0": "temperature:nvme:2231A4800123"}
    assert both == before | {"41.0": "temperature:nvme:2231A4800123:0000-02-00.0"}
    unplug(node.sysfs, 0)
    once()
    assert printed(once) == {"41.0": both["41.0"]}


@pytest.mark.parametrize("is_old", [False, True])
def test_what_nothing_tells_apart_is_numbered_and_not_remembered(
    node: Node, once: Once, is_old: bool
) -> None:
    if is_old:
        old_station(node)
    for number in (0, 1):
        node.sysfs.zone(number, "acpitz", 27000 + 1000 * number)
    once()
    assert printed(once) == {"27.0": "temperature:acpitz", "28.0": "temperature:acpitz:2"}
    (node.sysfs.root / "class/thermal/thermal_zone1/type").write_text("iwlwifi_1\n")
    once()
    assert printed(once) == {"27.0": "temperature:acpitz", "28.0": "temperature:iwlwifi_1"}


def test_a_disk_keeps_its_name_in_another_port(node: Node, once: Once) -> None:
    for host in (0, 3):
        disk(node.sysfs, host, 31000, "naa.5002538e40b8a1c2")
        once()
        assert printed(once) == {"31.0": "temperature:drivetemp:naa.5002538e40b8a1c2"}
        unplug(node.sysfs, host)


@pytest.mark.parametrize("name", ["serial", "wwid"])
def test_a_disk_whose_serial_number_cannot_be_read_goes_by_no_other_name(
    sysfs: SysfsTree, once: Once, name: str
) -> None:
    disk(sysfs, 0, 31000)
    (sysfs.root / "devices" / DISK.format(host=0) / name).mkdir()
    sysfs.zone(0, "cpu-thermal", 45100)
    ran = once("--print")
    assert ran.out == "temperature:cpu-thermal        45.1 °C\n"
    assert re.search(r"^hwmon0: .*: Is a directory$", ran.said[0])


def test_equal_labels_are_told_apart_by_their_inputs(sysfs: SysfsTree) -> None:
    sysfs.hwmon(
        0,
        "i2c-1/1-0040",
        name="ina3221",
        in1_input="1",
        in1_label="VDD SOC",
        in2_input="2",
        in2_label="VDD/SOC",
        in3_input="3",
        in3_label="5V",
    )
    assert [probe.sensor for probe in probes(sysfs.root)] == [
        "voltage:ina3221:1-0040:VDD-SOC-in1",
        "voltage:ina3221:1-0040:VDD-SOC-in2",
        "voltage:ina3221:1-0040:5V",
    ]


def test_a_command_that_is_called_like_a_sensor_is_refused(sysfs: SysfsTree, once: Once) -> None:
    sysfs.zone(0, "cpu-thermal", 45100)
    ran = once("--print", "--command", "temperature:cpu-thermal:°C=echo 7")
    assert ran.out == "temperature:cpu-thermal        45.1 °C\n"
    name = "temperature:cpu-thermal"
    line = f"{name}: a sensor and a command are called '{name}': give each its own name"
    assert ran.said == [line]
