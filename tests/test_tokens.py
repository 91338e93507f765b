"""Tokens: the same each time, refused soon after being rotated or revoked."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.station import Station, holds_within_a_second, wait_for
from tmon.core.errors import CannotServe, InvalidName, Revoked, UnknownNode
from tmon.core.settings import Settings
from tmon.db import nodes, tokens
from tmon.db.connect import open_database
from tmon.db.nodes import KnownNode


def settings_in(folder: Path, **environ: str) -> Settings:
    return Settings.load({"TMON_DB": str(folder / "tmon.db"), **environ})


def test_asking_again_gives_the_same_token(tmp_path: Path) -> None:
    first = list(tokens.get_or_create(settings_in(tmp_path), ["basement", "attic"]))
    again = list(tokens.get_or_create(settings_in(tmp_path), ["basement", "attic"]))
    assert first == again
    assert first[0] != first[1]
    assert first[0].startswith("tmon_basement.")
    assert first[0].count(".") == 3


def test_a_token_that_a_node_has_stays_valid_whatever_is_installed_later() -> None:
    made = "tmon_basement.0123456789abcdef.1.OSyZdVJBWUeXmwoIrtlDrldt0rbN49-EGCpnK3QyqJw"
    signer = tokens.Tokens(b"0123456789abcdef" * 4)
    assert signer.make(KnownNode("0123456789abcdef", "basement", 1, None)) == made
    claim, _, signature = made.encode().rpartition(b".")
    assert signer.verify(claim, signature) == ("basement", "0123456789abcdef", 1)


def test_the_secret_is_made_once_and_for_its_owner_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_in(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: tokens.load_or_create_secret(settings), range(32)))
    assert len(secrets) == 1
    assert len(secrets.pop()) == 64
    assert stat.S_IMODE(settings.secret_file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["tmon.db.secret"]
    assert caplog.messages == [
        f"made {settings.secret_file}, which signs the tokens: keep a copy where the backups are"
    ]


def test_the_secret_is_on_the_disk_before_it_has_its_name(tmp_path: Path) -> None:
    """Power that fails later never leaves an empty file, which would end all tokens."""
    path, synced = tmp_path / "tmon.db.secret", list[bytes]()

    def sync(descriptor: int) -> None:
        assert not path.exists()
        os.fsync(descriptor)
        [draft] = tmp_path.iterdir()
        synced.append(draft.read_bytes())

    tokens._create_secret(path, sync)
    assert synced == [path.read_bytes()]
    assert len(synced[0].strip()) == 64


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o027])
def test_what_root_makes_belongs_to_whom_the_folder_belongs(tmp_path: Path, umask: int) -> None:
    """Else ingest, started as that user, could neither write the database nor read the secret."""
    os.chown(tmp_path, 54_321, 54_322)
    before = os.umask(umask)
    try:
        list(tokens.get_or_create(settings_in(tmp_path), ["basement"]))
        with open_database(tmp_path / "tmon.db") as db:
            db.execute("insert into chores values ('x', 1, '')")
            made = {path.name: path.stat() for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert set(made) == {"tmon.db", "tmon.db-shm", "tmon.db-wal", "tmon.db.secret"}
    assert {(status.st_uid, status.st_gid) for status in made.values()} == {(54_321, 54_322)}
    modes = {name: stat.S_IMODE(status.st_mode) for name, status in made.items()}
    assert modes.pop("tmon.db.secret") == 0o600
    assert {*modes.values()} == {0o666 & ~umask}


@pytest.mark.parametrize("content", ["", "  \n", "short"])
def test_a_file_without_a_secret_signs_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "tmon.db.secret").write_text(content)
    with pytest.raises(CannotServe, match="backup"):
        list(tokens.get_or_create(settings_in(tmp_path), ["basement"]))


def test_sixteen_bytes_are_a_secret(tmp_path: Path) -> None:
    (tmp_path / "tmon.db.secret").write_text("0123456789abcdef\n")
    assert tokens.load_or_create_secret(settings_in(tmp_path)) == b"0123456789abcdef"


def test_another_secret_makes_other_tokens(tmp_path: Path) -> None:
    mine = settings_in(tmp_path, TMON_SECRET="a" * 32)
    other = settings_in(tmp_path, TMON_SECRET="b" * 32)
    assert list(tokens.get_or_create(mine, ["basement"])) != list(
        tokens.get_or_create(other, ["basement"])
    )


def test_the_database_holds_no_secret(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    [token] = tokens.get_or_create(settings, ["basement"])
    signature = token.rpartition(".")[2].encode()
    stored = b"".join(
        path.read_bytes() for path in tmp_path.glob("tmon.db*") if path.suffix != ".secret"
    )
    assert signature not in stored
    assert tokens.load_or_create_secret(settings) not in stored


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a.b", "-a", "ä", "a" * 65, "a\n"])
def test_a_node_has_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidName, match="ASCII"):
        list(tokens.get_or_create(settings_in(tmp_path), [name]))


def _send_until_remembered(station: Station) -> None:
    """The first answer comes with what others wrote, the node: after that tokens are looked up."""
    for _ in range(2):
        assert station.post({"value": 1}).status_code == 201


def test_rotation_takes_effect_while_ingest_runs(station: Station) -> None:
    old = {"Authorization": f"Bearer {station.token()}"}
    _send_until_remembered(station)
    with open_database(station.path) as db:
        signer = tokens.Tokens(tokens.load_or_create_secret(station.settings))
        new = tokens.rotate(db, signer, "basement")
    wait_for(lambda: station.post({"value": 2}, headers=old).status_code == 401)
    assert new == station.token()
    assert station.post({"value": 3}).status_code == 201
    assert "outdated" in station.post({"value": 2}, headers=old).json()["error"]


def test_revocation_takes_effect_while_ingest_runs(station: Station) -> None:
    token = {"Authorization": f"Bearer {station.token()}"}
    _send_until_remembered(station)
    with open_database(station.path) as db:
        tokens.revoke(db, "basement")
        signer = tokens.Tokens(tokens.load_or_create_secret(station.settings))
        url = f"{station.url}/readings"

        def refused() -> bool:
            answer = station.http.post(url, json={"value": 2}, headers=token, timeout=60)
            return (answer.status_code, answer.json().get("code")) == (403, "revoked")

        wait_for(refused)
        with pytest.raises(Revoked, match="rotate"):
            station.token()
        new = {"Authorization": f"Bearer {tokens.rotate(db, signer, 'basement')}"}
        wait_for(
            lambda: (
                station.http.post(url, json={"value": 3}, headers=new, timeout=60).status_code
                == 201
            )
        )


def test_only_a_node_there_is_can_be_rotated_or_revoked(tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        with pytest.raises(UnknownNode, match="cellar"):
            tokens.revoke(db, "cellar")
        with pytest.raises(UnknownNode, match="cellar"):
            tokens.rotate(db, tokens.Tokens(b"x"), "cellar")


def test_a_node_speaks_only_for_itself(station: Station) -> None:
    station.token("attic")
    for body in ({"node": "attic", "readings": []}, {"node": "attic", "value": 1}):
        answer = station.post(body)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert station.count() == 0


def test_a_renamed_node_keeps_its_token_and_both_names(station: Station) -> None:
    old_token = station.token()
    station.post({"value": 1})
    with open_database(station.path) as db:
        db.execute("update nodes set name = 'cellar'")
    headers = {"Authorization": f"Bearer {old_token}"}
    for name in ("basement", "cellar"):
        body = {"node": name, "readings": [{"sensor": "temperature", "value": 2}]}

        def sent(body: object = body) -> bool:
            answer = station.http.post(
                f"{station.url}/readings", json=body, headers=headers, timeout=60
            )
            return bool(answer.status_code == 201)

        holds_within_a_second(sent)
    assert station.query("select node, name, count(*) from sensors") == [
        ("cellar", "temperature", 1)
    ]


def test_a_new_node_under_an_old_name_has_another_token(tmp_path: Path) -> None:
    [old] = tokens.get_or_create(settings_in(tmp_path), ["basement"])
    with open_database(tmp_path / "tmon.db") as db:
        db.execute("update nodes set name = 'cellar'")
    [new] = tokens.get_or_create(settings_in(tmp_path), ["basement"])
    assert old != new


def test_what_is_known_of_a_node_can_be_set(tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        nodes.find_or_make(db, "basement")
        nodes.describe(db, "basement", {"description": "by the boiler", "latitude": 52.5})
        [row] = nodes.described(db)
    assert (row["description"], row["latitude"], row["longitude"]) == ("by the boiler", 52.5, None)
