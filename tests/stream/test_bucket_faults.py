"""The bucket of nodes and keys when its servers fail, or have its values damaged.

Commands succeed, or say what to do; no ingest takes a token that was revoked.
"""

import asyncio
import json
import random
import shutil
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from typing import TypeVar

import nats.errors
import pytest
from nats.aio.client import Client

from tests.station import tmon, wait_for
from tests.stream.cluster import NAMES, Server
from tests.stream.machines import Machine, Station
from tests.stream.two_machines import rows
from tmon.core.settings import Settings
from tmon.db.connect import open_for_reading
from tmon.stream.bucket import BUCKET_SUBJECT, STEP_DOWN
from tmon.stream.change_log import CHANGE
from tmon.stream.connection import CannotConnect, ask
from tmon.stream.directory import Directory
from tmon.stream.owner_database import Patience, open_to_change
from tmon.stream.streams import BUCKET_STREAM, NoAnswer

DIRECTORIES = 6  # NATS picks the servers that they read
T = TypeVar("T")


@pytest.fixture
def nodes(clustered: Station) -> Callable[[], tuple[str, str]]:
    """Gives nodes that no other test has, with their tokens."""
    return lambda: _next_node(clustered)


def _next_node(station: Station) -> tuple[str, str]:
    number = station.acknowledged["nodes that were given"]
    station.acknowledged["nodes that were given"] += 1
    name = f"given-{number}"
    return name, station.machines[0].tmon("token", "get", name).strip()


def settings_of(station: Station) -> Settings:
    return Settings.load({"TMON_STREAM": station.cluster.urls("a")})


def asked(station: Station, question: Callable[[Client], Awaitable[T]]) -> T:
    """What the servers answer, once they do."""
    while True:
        with suppress(CannotConnect, nats.errors.Error):
            return ask(settings_of(station), "test", question)


def leader(station: Station) -> Server:
    async def name(client: Client) -> str:
        info = await client.jetstream().stream_info(BUCKET_STREAM)
        return str((info.cluster and info.cluster.leader) or "")

    wait_for(lambda: asked(station, name))
    return station.cluster[asked(station, name)]


def lead(station: Station, server: Server) -> None:
    """Let a server lead the bucket."""
    preferred = json.dumps({"placement": {"preferred": server.name}}).encode()

    async def ask_for_it(client: Client) -> None:
        await client.request(STEP_DOWN, preferred, timeout=10)

    def leads() -> bool:
        if leader(station) is server:
            return True
        asked(station, ask_for_it)
        return False

    wait_for(leads, pause_s=0.2)


def damage(server: Server, name: str) -> None:
    """Flip a bit in the last value of a name in a server's file, while it is stopped."""
    server.stop()
    subject = (BUCKET_SUBJECT + name).encode()
    for block in server.store.rglob(f"{BUCKET_STREAM}/msgs/*.blk"):
        data = bytearray(block.read_bytes())
        if (at := data.rfind(subject)) >= 0:
            data[at + len(subject) + 20] ^= 1
            block.write_bytes(data)
    server.start()


def replace_files(station: Station, server: Server) -> None:
    """As docs/cluster.md says; it may not end otherwise any more."""
    server.kill()
    shutil.rmtree(server.store)
    server.start()
    station.cluster.wait_until_healthy()


def uid_of(token: str) -> str:
    return token.split(".")[1]


def test_a_last_change_that_the_leader_has_damaged_is_read_elsewhere(clustered: Station) -> None:
    server = clustered.cluster["c"]
    damage(server, CHANGE)
    clustered.cluster.wait_until_healthy()
    lead(clustered, server)
    clustered.machines[0].tmon("note", "node-0", "painted")
    assert leader(clustered) is not server
    replace_files(clustered, server)


def test_a_nodes_value_that_the_leader_has_damaged_is_replaced(
    clustered: Station, nodes: Callable[[], tuple[str, str]]
) -> None:
    name, token = nodes()
    server = clustered.cluster["c"]
    damage(server, f"node.{uid_of(token)}")
    clustered.cluster.wait_until_healthy()
    lead(clustered, server)
    clustered.machines[0].tmon("token", "revoke", name)
    for machine in clustered.machines:
        wait_for(lambda machine=machine: machine.post(token) == 403)
    replace_files(clustered, server)


def test_a_server_that_stays_behind_hides_no_revocation(
    clustered: Station, nodes: Callable[[], tuple[str, str]]
) -> None:
    """A value that is damaged in its file is written anew: it takes no more, and says nothing."""
    (damaged, token), (name, revoked) = nodes(), nodes()
    server = clustered.cluster["c"]
    damage(server, f"node.{uid_of(token)}")
    clustered.cluster.wait_until_healthy()
    lead(clustered, clustered.cluster["a"])

    async def run() -> None:
        async with AsyncExitStack() as stack:
            first = [await followed(clustered, stack) for _ in range(DIRECTORIES)]
            for command in (("rotate", damaged), ("revoke", name)):
                await asyncio.to_thread(clustered.machines[0].tmon, "token", *command)
            later = [await followed(clustered, stack) for _ in range(DIRECTORIES)]
            assert all(is_revoked(one, revoked) for one in later)
            async with asyncio.timeout(60):
                while not all(is_revoked(one, revoked) for one in first):
                    await asyncio.sleep(0.01)

    asyncio.run(run())
    found = f"T27 warning: NATS server {server.name}: it is down, or has not caught up with 1 "
    assert any(line.startswith(found) for line in clustered.machines[0].findings())
    replace_files(clustered, server)


async def followed(station: Station, stack: AsyncExitStack) -> Directory:
    directory = Directory(heartbeat_s=0.2)
    await directory.start(settings_of(station))
    stack.callback(directory.db.close)
    stack.push_async_callback(directory.close)
    return directory


def is_revoked(directory: Directory, token: str) -> bool:
    query = "select revoked_ms from nodes where uid = ?"
    [revoked_ms] = directory.db.execute(query, [uid_of(token)]).fetchone()
    return revoked_ms is not None


def test_without_a_majority_a_command_says_what_to_do(clustered: Station) -> None:
    machine = clustered.machines[0]
    servers = [clustered.cluster[name] for name in ("b", "c")]
    for server in servers:
        server.kill()
    try:
        settings = Settings.load({"TMON_DB": str(machine.db), **machine.environ})
        with pytest.raises(NoAnswer, match="nothing was changed; try again in a minute"):
            open_to_change(settings, Patience(turn_s=0.1))
    finally:
        for server in servers:
            server.start()
        clustered.cluster.wait_until_healthy()


WHAT_TO_DO = ("nothing was changed", "look before", "don't repeat")  # says a command that fails


@pytest.mark.parametrize(
    ("fault", "rounds"),
    [
        *(("kill", 1), ("step down", 1)),
        *(
            pytest.param(fault, 8, marks=[pytest.mark.soak, pytest.mark.timeout(590)])
            for fault in ("kill", "step down", "stop")
        ),
    ],
)
def test_the_bucket_has_another_leader_amid_commands(
    clustered: Station, nodes: Callable[[], tuple[str, str]], fault: str, rounds: int
) -> None:
    for _ in range(rounds):
        given = [nodes() for _ in range(4)]
        commands = [
            *(("token", "revoke", name) for name, _ in given[:3]),
            ("key", "get", given[3][0]),
            ("node", "set", given[3][0], "--description", "by the door"),
            ("mute", given[3][0], "2h"),
            ("device", "adopt", f"d {given[3][0]}", given[3][0], "--unheard"),
        ]
        random.shuffle(commands)
        with ThreadPoolExecutor(2) as pool:
            halves = [
                pool.submit(ran, machine, commands[at::2])
                for at, machine in enumerate(clustered.machines)
            ]
            server = leader(clustered)
            make_another_lead(clustered, server, fault)
            done = [name for half in halves for name in half.result()]
        bring_back(clustered, server, fault)
        for name, token in given[:3]:
            if name in done:
                for machine in clustered.machines:
                    wait_for(lambda machine=machine, token=token: machine.post(token) == 403)
        assert differences(clustered) == []


def ran(machine: Machine, commands: list[tuple[str, ...]]) -> list[str]:
    """Run commands, which succeed or say what to do; the nodes of those that are done."""
    done = []
    for command in commands:
        made = tmon(machine.folder, *command, environ=machine.environ)
        if made.returncode == 0:
            done.append(command[2])
        else:
            assert any(text in made.stderr for text in WHAT_TO_DO), made.stderr
    return done


def make_another_lead(station: Station, server: Server, fault: str) -> None:
    if fault == "kill":
        server.kill()
    elif fault == "stop":
        server.send(signal.SIGSTOP)
    else:
        lead(station, station.cluster[random.choice([*{*NAMES} - {server.name}])])


def bring_back(station: Station, server: Server, fault: str) -> None:
    if fault == "kill":
        server.start()
    elif fault == "stop":
        server.send(signal.SIGCONT)
    station.cluster.wait_until_healthy()


def differences(station: Station) -> list[str]:
    """The tables in which the files differ, once both have all."""
    a, b = (machine.db for machine in station.machines)
    tables = ("nodes", "keys", "notes", "mutes", "changes")

    def differing() -> list[str]:
        with open_for_reading(a) as one, open_for_reading(b) as other:
            return [table for table in tables if rows(one, table) != rows(other, table)]

    with suppress(AssertionError):
        wait_for(lambda: not differing(), seconds=60, pause_s=0.1)
    return differing()
