"""The whole database as a file: resumed where it broke off, and nothing else leaks beside it."""

import hashlib
import json
import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser

from tests.publish.browsing import looks, scrolls_sideways, violations, visit
from tests.publish.published import Serve, Site
from tests.station import Process, answers, tmon, wait_for
from tmon.db.connect import sqlite3
from tmon.pages.download import byte_range
from tmon.pages.public_copies import PublicCopy

FILE = "/download/tmon.db"
SHA = "a" * 64


def newest(site: Site) -> Path:
    return max((site.path.parent / "offered").glob("*.db"))


def get(site: Site, path: str = FILE, method: str = "GET", **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(method, site.url + path, headers=named, timeout=60)


def test_the_newest_copy_is_sent_whole(offering: Site) -> None:
    answer, copy = get(offering, accept_encoding="gzip"), newest(offering)
    assert answer.status_code == 200
    assert answer.content == copy.read_bytes()
    digest = hashlib.sha256(answer.content).hexdigest()
    assert {name: answer.headers.get(name) for name in (
        "content-type", "content-length", "content-disposition", "etag", "accept-ranges",
        "content-encoding", "content-range",
    )} == {
        "content-type": "application/vnd.sqlite3",
        "content-length": str(copy.stat().st_size),
        "content-disposition": 'attachment; filename="tmon.db"',
        "etag": f'"{digest}"',
        "accept-ranges": "bytes",
        "content-encoding": None,
        "content-range": None,
    }  # fmt: skip
    told = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(copy.stat().st_mtime))
    assert answer.headers["last-modified"] == told


def test_head_tells_the_same_without_the_file(offering: Site) -> None:
    head, whole = get(offering, method="HEAD"), get(offering)
    assert head.content == b""
    assert {**head.headers, "date": ""} == {**whole.headers, "date": ""}
    part = get(offering, method="HEAD", range="bytes=0-9")
    assert (part.status_code, part.headers["content-length"], part.content) == (206, "10", b"")


@pytest.mark.parametrize("flags", ["-OJ", "-O"])
@pytest.mark.parametrize("named", [False, True])
def test_what_curl_saves_is_what_its_digest_names(
    offering: Site, tmp_path: Path, flags: str, named: bool
) -> None:
    page = offering.get("/download").text
    [link, digest] = re.findall(r'href="(/download/[^"]+)" download', page)
    assert digest == f"{link}.sha256"
    file = link if named else FILE
    for url in (f"{offering.url}{file}", f"{offering.url}{file}.sha256"):
        subprocess.run(["curl", "-fsS", flags, url], cwd=tmp_path, check=True)
    name = file.removeprefix("/download/")
    subprocess.run(["sha256sum", "--status", "-c", f"{name}.sha256"], cwd=tmp_path, check=True)


SIZE = 1000
COPY = PublicCopy("tmon-public-2026-11-25T030000Z.db", SIZE, 0, SHA)


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-9", (206, 0, 10)),
        ("bytes=990-", (206, 990, 10)),
        ("bytes=990-5000", (206, 990, 10)),
        ("bytes=-10", (206, 990, 10)),
        ("bytes=-5000", (206, 0, 1000)),
        ("bytes = 5 - 5", (206, 5, 1)),
        ("bytes=1000-", (416, 0, 0)),
        ("bytes=-0", (416, 0, 0)),
        ("bytes=999999999999999999-", (416, 0, 0)),
        ("bytes=0-1,5-6", (200, 0, 1000)),  # several: all of it may be sent
        ("bytes=9-5", (200, 0, 1000)),  # what is no range is as if it weren't there
        ("bytes=-", (200, 0, 1000)),
        ("bytes=٣-", (200, 0, 1000)),
        ("lines=0-9", (200, 0, 1000)),
        ("", (200, 0, 1000)),
    ],
)
def test_a_range_is_what_rfc_9110_says(asked: str, part: tuple[int, int, int]) -> None:
    assert byte_range(COPY, {"range": asked}) == part


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (f'"{SHA}"', 206),
        (f'W/"{SHA}"', 200),
        ('"other"', 200),
        ("Wed, 25 Nov 2026 03:00:00 GMT", 200),
    ],
)
def test_a_part_of_another_file_is_the_whole_of_this(condition: str, status: int) -> None:
    headers = {"range": "bytes=0-9", "if-range": condition}
    assert byte_range(COPY, headers).status == status


def test_parts_are_sent_as_asked(offering: Site) -> None:
    content = newest(offering).read_bytes()
    part = get(offering, range="bytes=100-199", accept_encoding="gzip")
    assert (part.status_code, part.content) == (206, content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(content)}"
    beyond = get(offering, range=f"bytes={len(content)}-")
    assert (beyond.status_code, beyond.content) == (416, b"")
    assert beyond.headers["content-range"] == f"bytes */{len(content)}"
    etag = part.headers["etag"]
    assert get(offering, if_none_match=etag).status_code == 304
    assert get(offering, if_none_match='"other"').status_code == 200
    assert get(offering, method="POST").status_code == 405


def test_curl_goes_on_where_it_broke_off_and_finds_it_whole(offering: Site, tmp_path: Path) -> None:
    page = offering.get("/download").text
    lines = [
        *re.findall(r"curl -C - -O \S+?\.db(?=\s)", page),
        *re.findall(r"curl -O [^\s<]+", page),
    ]
    lines += re.findall(r"sha256sum -c [^\s<]+", page)
    assert len(lines) == 3
    (tmp_path / newest(offering).name).write_bytes(newest(offering).read_bytes()[:100_000])
    ran = subprocess.run(
        ["sh", "-ec", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"{newest(offering).name}: OK\n"
    with sqlite3.connect(str(tmp_path / newest(offering).name)) as db:
        assert db.execute("select count(*) from nodes").fetchone()[0] == 3


def test_the_page_and_the_linked_data_tell_what_is_offered(offering: Site) -> None:
    copy = newest(offering)
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    page = offering.get("/download")
    assert page.status_code == 200
    assert digest in page.text
    assert copy.name in page.text
    size = f"{copy.stat().st_size / 1000:.0f} kB"
    assert size in page.text
    for path in ("/", "/tmon/readings", "/node/attic"):
        assert f'<a href="/download">Whole database ({size})</a>' in offering.get(path).text
    [text] = re.findall(r'ld\+json">(.*?)</script>', offering.get("/").text, re.DOTALL)
    [entry] = [one for one in json.loads(text)["distribution"] if "sha256" in one]
    assert entry == {
        "@type": "DataDownload",
        "encodingFormat": "application/vnd.sqlite3",
        "contentUrl": f"{offering.url}{FILE}",
        "contentSize": size,
        "sha256": digest,
        "dateModified": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(copy.stat().st_mtime))
        + f".{copy.stat().st_mtime_ns // 10**6 % 1000:03}Z",
    }
    assert f"<loc>{offering.url}/download</loc>" in offering.get("/sitemap.xml").text


def test_without_one_the_page_says_how_to_make_one(
    serve: Serve, site: Site, tmp_path: Path
) -> None:
    nothing_yet = serve(site.path, tmp_path / "not made yet")
    for one in (site, nothing_yet):
        page = one.get("/download")
        assert page.status_code == 404
        assert "tmon backup --publish DIR" in page.text
        assert "not made yet" not in page.text  # where it is on the server is nobody's business
        assert one.get(FILE).status_code == one.get(f"{FILE}.sha256").status_code == 404
        assert 'href="/download"' not in one.get("/").text
        assert "/download" not in one.get("/sitemap.xml").text


def test_nothing_else_of_the_folder_leaks(serve: Serve, offering: Site, tmp_path: Path) -> None:
    offered = tmp_path / "offered"
    offered.mkdir()
    names = [f"tmon-public-2026-11-2{day}T030000Z.db" for day in range(1, 7)]
    (tmp_path / "outside.db").write_text("a secret outside")
    for name in names:
        (offered / f"{name}.sha256").write_text(f"{SHA}  {name}\n")
    (offered / names[0]).write_text("the copy")
    (offered / names[1]).symlink_to(tmp_path / "outside.db")
    (offered / names[2]).mkdir()
    os.mkfifo(offered / names[3])
    (offered / names[4]).write_text("not said to be whole")
    (offered / f"{names[4]}.sha256").write_text("nothing\n")
    (offered / names[5]).hardlink_to(tmp_path / "outside.db")
    (offered / "tmon-2026-11-25T030000Z.db").write_text("a secret")
    (offered / "tmon-2026-11-25T030000Z.db.secret").write_text("a secret")
    site = serve(offering.path, offered)
    assert get(site).text == "the copy"
    assert get(site, f"/download/{names[0]}").text == "the copy"
    assert get(site, f"/download/{names[0]}.sha256").text == f"{SHA}  {names[0]}\n"
    assert get(site, f"{FILE}.sha256").text == f"{SHA}  tmon.db\n"
    for name in (
        *names[1:], "tmon-2026-11-25T030000Z.db", "tmon-2026-11-25T030000Z.db.secret",
        "..%2foutside.db", "%2e%2e/outside.db", "../outside.db", f"..%2foffered%2f{names[0]}",
        f"{names[0]}%00", f"{names[0]}/", f"{names[0]}%0a", "", "tmon.db.secret",
    ):  # fmt: skip
        raw = raw_get(site, f"/download/{name}")
        assert b" 200 " not in raw.partition(b"\r\n")[0], name
        assert b"secret outside" not in raw
        assert b"a secret" not in raw


def raw_get(site: Site, path: str) -> bytes:
    """An answer to an address that no client has tidied."""
    host, port = site.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: line.recv(65_536), b""))


def test_the_configuration_that_all_can_see_has_no_path(offering: Site) -> None:
    folder = str(offering.path.parent)
    for path in ("/-/config.json", "/-/settings.json", "/-/plugins.json", "/download", "/"):
        assert folder not in offering.get(path).text


def big_copy(folder: Path, day: int, size: int = 30_000_000) -> Path:
    copy = folder / f"tmon-public-2026-11-{day}T030000Z.db"
    copy.write_bytes(bytes([day]) * size)
    copy.with_name(f"{copy.name}.sha256").write_text(f"{day:064x}  {copy.name}\n")
    return copy


def test_a_download_stays_the_same_file_while_another_becomes_the_newest(
    offering: Site, tmp_path: Path
) -> None:
    """Served by tmon's own HTTP, as strangers meet it."""
    old = big_copy(tmp_path, 10)
    server = Process(
        offering.path.parent, "serve", "datasette", "--datasette-port", "0",
        "--db", str(offering.path), "--download-dir", str(tmp_path),
    )  # fmt: skip
    try:
        url = server.addresses(1)["datasette"]
        with requests.get(url + FILE, stream=True, timeout=60) as answer:
            first = answer.raw.read(1000)
            big_copy(tmp_path, 11)
            old.unlink()
            for _ in range(5):  # others are answered while it is under way, and nobody takes it
                assert answers(f"{url}/robots.txt")
            rest = answer.raw.read()
        assert {*first, *rest} == {10}
        assert len(first) + len(rest) == 30_000_000
        assert (
            requests.get(url + FILE, timeout=60, headers={"range": "bytes=0-0"}).content == b"\x0b"
        )
        with requests.get(url + FILE, stream=True, timeout=60) as answer:
            answer.raw.read(1000)
        wait_for(lambda: not open_copies(server.popen.pid, tmp_path))  # who left is noticed
    finally:
        server.kill()


def open_copies(pid: int, folder: Path) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(link.readlink()))
        except FileNotFoundError:  # closed since
            continue
    return [name for name in found if name.startswith(str(folder))]


def test_many_downloads_at_once_are_each_whole(offering: Site) -> None:
    content = newest(offering).read_bytes()
    found: list[bool] = []

    def download() -> None:
        found.append(get(offering).content == content)

    threads = [threading.Thread(target=download) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 20


def test_what_is_published_next_is_offered_at_once(serve: Serve, tmp_path: Path) -> None:
    from tmon.db.connect import open_database  # noqa: PLC0415

    open_database(tmp_path / "tmon.db", create=True).close()
    site = serve(tmp_path / "tmon.db", tmp_path / "offered")
    assert site.get("/download").status_code == 404
    assert tmon(tmp_path, "backup", "--publish", "offered").returncode == 0
    assert site.get("/download").status_code == 200


@pytest.mark.parametrize(("path", "width", "scheme"), looks(["/download"] * 2))
def test_the_page_keeps_nobody_out(
    browser: Browser, offering: Site, path: str, width: int, scheme: Any
) -> None:
    with visit(browser, width, color_scheme=scheme) as page:
        page.goto(offering.url + path)
        assert not scrolls_sideways(page)
        assert violations(page) == []
