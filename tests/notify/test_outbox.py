"""What each channel gets, and when it is sent again."""

import shutil
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.notify.alerting import HOUR_MS, NOW_MS, Station
from tests.notify.receivers import (
    Listener,
    Mailbox,
    mail_server,
    sent_by,
    stand_in_sendmail,
    text_of,
)
from tmon.watch.channels import InvalidChannels, NoSecret
from tmon.watch.outbox import register_channels, send_new_events, send_unrecorded

SECRETS = "hunter2"


def mailto(box: Mailbox, *recipients: str, **options: str) -> str:
    to = ",".join(recipients or ("alice@example.org",))
    more = "".join(f"&{name}={text}" for name, text in options.items())
    return f"mailto://{box.address}?from=tmon@example.org&to={to}{more}"


def test_one_mail_has_all_new_events_and_they_are_not_sent_again(
    tmp_path: Path, mailbox: Mailbox
) -> None:
    station = Station(tmp_path, mailto(mailbox), TMON_PUBLIC_URL="https://tmon.example.org")
    station.began()
    station.began("cellar: silent", node="cellar", sensor=None, severity="critical")
    assert send_new_events(station.db, station.settings, NOW_MS) == []
    assert send_new_events(station.db, station.settings, NOW_MS + HOUR_MS) == []
    [mail] = mailbox.mails
    assert mail["Subject"] == "tmon: 2 new"
    assert mail["From"] == "tmon@example.org"
    assert mail["To"] == "alice@example.org"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert abs(mail["Date"].datetime - datetime.now(UTC)) < timedelta(minutes=1)
    assert mail["Message-ID"]
    assert text_of(mail) == (
        "New, critical\n- cellar: silent\n  https://tmon.example.org/node/cellar\n\n"
        "New\n- cellar/freezer: -3 °C is above -15 °C\n"
        "  https://tmon.example.org/node/cellar/freezer\n\n"
        "https://tmon.example.org/tmon/incidents?_sort_desc=id\n"
    )


def test_a_mail_has_each_header_once_as_the_server_gets_it(
    tmp_path: Path, mailbox: Mailbox
) -> None:
    station = Station(tmp_path, mailto(mailbox, reply="bob@example.org"))
    station.began()
    send_new_events(station.db, station.settings, NOW_MS)
    [raw], [mail] = mailbox.raw, mailbox.mails
    names = [name.lower() for name in mail if name.lower() != "received"]
    assert sorted({*names}) == sorted(names)
    assert raw.lower().count(b"message-id:") == 1
    assert mail["Reply-To"] == "bob@example.org"
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))  # RFC 5322


def test_it_logs_in_to_the_mail_server(tmp_path: Path) -> None:
    with mail_server(login=True) as box:
        station = Station(
            tmp_path,
            f"mailto://tmon:p%40ss%20word@{box.address}?from=tmon@example.org&to=alice@example.org",
        )
        station.began()
        assert send_new_events(station.db, station.settings, NOW_MS) == []
        assert box.users == [(b"tmon", b"p@ss word")]
        assert len(box.mails) == 1


def test_a_refused_password_is_reported_without_the_password(tmp_path: Path) -> None:
    with mail_server(login=True) as box:
        station = Station(
            tmp_path, f"mailto://tmon:{SECRETS}@{box.address}?from=a@example.org&to=b@example.org"
        )
        station.began()
        [failure] = send_new_events(station.db, station.settings, NOW_MS)
        assert failure == (
            "mailto (address 1 of TMON_NOTIFY): not sent: the server refused user or password (535)"
        )
        assert box.mails == []


def test_a_mail_server_without_tls_gets_nothing_if_tls_is_required(
    tmp_path: Path, mailbox: Mailbox
) -> None:
    station = Station(
        tmp_path,
        f"mailtos://u:{SECRETS}@{mailbox.address}?from=a@example.org&to=b@example.org",
        f"mailtos://u:{SECRETS}@{mailbox.address}?from=a@example.org&to=b@example.org&mode=ssl",
    )
    station.began()
    failures = send_new_events(station.db, station.settings, NOW_MS)
    assert ["no session with the mail server" in failure for failure in failures] == [True, True]
    assert not mailbox.mails
    assert not mailbox.users


@pytest.mark.skipif(not shutil.which("openssl"), reason="it makes the certificate")
def test_a_mail_is_sent_by_tls_only_if_the_certificate_is_trusted(tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    make = "openssl req -x509 -nodes -newkey rsa:2048 -days 2 -subj /CN=x -keyout - -out -"
    pem.write_bytes(subprocess.run(make.split(), capture_output=True, check=True).stdout)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with mail_server(login=True, tls=context) as box:
        url = f"mailtos://tmon:p%40ss%20word@{box.address}?from=a@example.org&to=b@example.org"
        station = Station(tmp_path, f"{url}&verify=no", url)
        station.began()
        [failure] = send_new_events(station.db, station.settings, NOW_MS)
        assert failure == (
            "mailtos (address 2 of TMON_NOTIFY): not sent:"
            " no session with the mail server (its certificate isn't trusted)"
        )
        assert box.users == [(b"tmon", b"p@ss word")]
        assert len(box.mails) == 1


def test_the_message_after_a_failed_one_has_its_events_and_the_new_ones(
    tmp_path: Path, listener: Listener
) -> None:
    station = Station(tmp_path, f"json://{listener.address}/{SECRETS}")
    incident = station.began("one")
    listener.status = 500
    [failure] = send_new_events(station.db, station.settings, NOW_MS)
    assert failure == "json (address 1 of TMON_NOTIFY): not sent: the answer was 500"
    assert station.failed() == ["json"]
    assert station.channels() == [(0, NOW_MS)]
    station.event(incident, "ended", "one: over", NOW_MS + HOUR_MS)
    station.began("two", at_ms=NOW_MS + HOUR_MS)
    listener.status = 200
    assert send_new_events(station.db, station.settings, NOW_MS + HOUR_MS) == []
    first, second = listener.requests
    assert first.json["title"] == "tmon: new: one"
    assert second.json["title"] == "tmon: 1 new, 1 over"
    assert second.json["message"] == "New\n- two\n\nOver\n- one: over"
    assert station.failed() == []
    assert station.channels() == [(3, None)]


def test_the_time_of_the_first_failure_is_kept(tmp_path: Path, listener: Listener) -> None:
    station = Station(tmp_path, f"json://{listener.address}/")
    station.began()
    listener.status = 403
    send_new_events(station.db, station.settings, NOW_MS)
    send_new_events(station.db, station.settings, NOW_MS + HOUR_MS)
    assert station.channels() == [(0, NOW_MS)]


def test_an_unanswered_message_is_sent_again_with_newer_events(
    tmp_path: Path, listener: Listener
) -> None:
    station = Station(tmp_path, f"json://{listener.address}/?rto=0.2")
    station.began("one")
    listener.hold = threading.Event()
    [failure] = send_new_events(station.db, station.settings, NOW_MS)
    assert failure.endswith("not sent: no answer came")
    listener.hold.set()
    listener.hold = None
    station.began("two", at_ms=NOW_MS + HOUR_MS)
    listener.status = 500
    assert len(send_new_events(station.db, station.settings, NOW_MS + HOUR_MS)) == 1
    listener.status = 200
    assert send_new_events(station.db, station.settings, NOW_MS + 2 * HOUR_MS) == []
    assert send_new_events(station.db, station.settings, NOW_MS + 3 * HOUR_MS) == []
    messages = [request.json["message"] for request in listener.requests]
    assert messages == ["New\n- one"] + ["New\n- one\n- two"] * 2


def test_a_mail_that_the_server_did_not_accept_is_sent_again(
    tmp_path: Path, mailbox: Mailbox
) -> None:
    station = Station(tmp_path, mailto(mailbox))
    station.began("one")
    mailbox.answer = "421 closing"
    [failure] = send_new_events(station.db, station.settings, NOW_MS)
    assert "refused the mail (421)" in failure
    mailbox.answer = "250 OK"
    assert send_new_events(station.db, station.settings, NOW_MS) == []
    assert len(mailbox.mails) == 1


def test_each_recipient_of_a_mail_gets_it_once_even_if_another_fails(
    tmp_path: Path, mailbox: Mailbox
) -> None:
    station = Station(tmp_path, mailto(mailbox, "alice@example.org", "bob@example.org"))
    station.began()
    mailbox.refused = ("bob@example.org",)
    [failure] = send_new_events(station.db, station.settings, NOW_MS)
    assert failure.endswith("the server refused the recipient (550)")
    mailbox.refused = ()
    assert send_new_events(station.db, station.settings, NOW_MS + HOUR_MS) == []
    assert mailbox.recipients == [["alice@example.org"], ["bob@example.org"]]


def test_copies_of_a_mail_are_channels_of_their_own(tmp_path: Path, mailbox: Mailbox) -> None:
    copies = {"cc": "bob@example.org", "bcc": "carol@example.org"}
    station = Station(tmp_path, mailto(mailbox, "Alice<alice@example.org>", **copies))
    station.began()
    assert send_new_events(station.db, station.settings, NOW_MS) == []
    assert len(station.channels()) == 3
    assert sorted(
        (to, str(mail["To"]), mail["Cc"])
        for [to], mail in zip(mailbox.recipients, mailbox.mails, strict=True)
    ) == [
        ("alice@example.org", "Alice <alice@example.org>", None),
        ("bob@example.org", "bob@example.org", None),
        ("carol@example.org", "carol@example.org", None),
    ]


def test_a_dead_channel_does_not_stop_the_others(
    tmp_path: Path, mailbox: Mailbox, listener: Listener
) -> None:
    station = Station(
        tmp_path,
        f"json://127.0.0.1:1/{SECRETS}",
        f"ntfy://{listener.address}/cellar",
        mailto(mailbox),
    )
    station.began()
    [failure] = send_new_events(station.db, station.settings, NOW_MS)
    assert failure == "json (address 1 of TMON_NOTIFY): not sent: no connection"
    assert len(mailbox.mails) == len(listener.requests) == 1


def test_a_server_that_hangs_does_not_delay_the_others(
    tmp_path: Path, mailbox: Mailbox, hanging: str
) -> None:
    station = Station(
        tmp_path, f"mailto://{hanging}?from=a@example.org&to=b@example.org", mailto(mailbox)
    )
    station.began()
    failures = send_new_events(station.db, station.settings, NOW_MS, timeout_s=1)
    assert failures == ["mailto (address 1 of TMON_NOTIFY): not sent: no answer in time"]
    assert len(mailbox.mails) == 1


def test_a_new_channel_gets_only_the_events_of_this_run(tmp_path: Path, listener: Listener) -> None:
    station = Station(tmp_path, f"json://{listener.address}/")
    station.began("long ago", at_ms=NOW_MS - HOUR_MS)
    station.began("now")
    send_new_events(station.db, station.settings, NOW_MS)
    [request] = listener.requests
    assert request.json["message"] == "New\n- now"


def test_a_run_killed_before_it_sent_anything_loses_no_event(
    tmp_path: Path, listener: Listener
) -> None:
    station = Station(tmp_path, f"json://{listener.address}/")
    register_channels(station.db, station.settings, NOW_MS)
    station.began("found by the run that was killed")
    send_new_events(station.db, station.settings, NOW_MS + HOUR_MS)
    assert len(listener.requests) == 1


def test_a_channel_that_is_no_longer_set_has_not_failed_and_is_deleted_after_a_month(
    tmp_path: Path, listener: Listener
) -> None:
    station = Station(tmp_path, f"json://{listener.address}/")
    station.began()
    listener.status = 500
    send_new_events(station.db, station.settings, NOW_MS)
    station.environ["TMON_NOTIFY"] = f"json://{listener.address}/other"
    register_channels(station.db, station.settings, NOW_MS)
    assert station.failed() == []
    assert len(station.channels()) == 2
    register_channels(station.db, station.settings, NOW_MS + 31 * 24 * HOUR_MS)
    assert len(station.channels()) == 1


def test_an_address_set_twice_is_one_channel(tmp_path: Path, listener: Listener) -> None:
    station = Station(tmp_path, *[f"json://{listener.address}/"] * 2)
    station.began()
    send_new_events(station.db, station.settings, NOW_MS)
    assert len(listener.requests) == 1


def test_invalid_addresses_are_named_by_position_and_scheme(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    station = Station(
        tmp_path,
        "json://127.0.0.1/",
        f"nosuch://{SECRETS}@example.org",
        SECRETS,
        f"tgram://{SECRETS}",
        f"mailto://u:{SECRETS}@example.org?to=nobody&smtp=example.org",
        f"mailto://u:{SECRETS}@example.org?pgp=encrypt&smtp=example.org",
        "ntfy://",
    )
    station.began()
    with pytest.raises(InvalidChannels) as error:
        send_new_events(station.db, station.settings, NOW_MS)
    lines = str(error.value).splitlines()
    assert [line.split(")")[0] for line in lines] == [
        "TMON_NOTIFY: address 2 (nosuch",
        "TMON_NOTIFY: address 3 (no scheme",
        "TMON_NOTIFY: address 4 (tgram",
        "TMON_NOTIFY: address 5 (mailto",
        "TMON_NOTIFY: address 6 (mailto",
        "TMON_NOTIFY: address 7 (ntfy",
    ]
    assert "no recipient" in lines[3]
    assert "PGP" in lines[4]
    assert "no recipient" in lines[5]
    assert SECRETS not in str(error.value) + "".join(capfd.readouterr())
    assert station.channels() == []


def test_no_part_of_an_address_is_in_the_database_or_the_log(
    tmp_path: Path,
    listener: Listener,
) -> None:
    station = Station(
        tmp_path,
        f"json://{listener.address}/{SECRETS}",
        f"json://127.0.0.1:1/{SECRETS}",
        f"ntfy://u:{SECRETS}@{listener.address}/{SECRETS}",
        f"json://{SECRETS}.invalid/",
        f"mailto://u:{SECRETS}@127.0.0.1:1?from={SECRETS}@example.org&to={SECRETS}@example.org",
    )
    station.began()
    sender = station.process()
    output = "".join(sender.communicate(timeout=60))
    assert output.count("no connection") == 2
    assert "mailto (address 5 of TMON_NOTIFY): not sent: no session with the mail server" in output
    assert SECRETS not in output
    station.db.execute("pragma wal_checkpoint(truncate)")
    assert SECRETS.encode() not in station.settings.db.read_bytes()


def test_without_the_secret_nothing_is_sent_and_the_error_says_why(tmp_path: Path) -> None:
    station = Station(tmp_path, "json://127.0.0.1:1/", TMON_SECRET="")
    with pytest.raises(NoSecret, match=r"tmon.db.secret: No such file"):
        send_new_events(station.db, station.settings, NOW_MS)
    station.settings.secret_file.write_text("\n")
    with pytest.raises(NoSecret, match="holds no secret"):
        send_new_events(station.db, station.settings, NOW_MS)
    station.settings.secret_file.write_text("a secret in a file\n")
    assert send_new_events(station.db, station.settings, NOW_MS) == []  # there is no event


def test_without_addresses_root_gets_mail_by_sendmail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in_sendmail(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    station = Station(tmp_path)
    station.began("temperature: 31 °C")
    assert send_new_events(station.db, station.settings, NOW_MS) == []
    assert send_new_events(station.db, station.settings, NOW_MS) == []
    [mail] = sent_by(tmp_path)
    assert (tmp_path / "arguments").read_text() == "-t -oi\n"
    assert mail["To"] == "root"
    assert mail["From"].addresses[0].username == "tmon"
    assert mail["Subject"] == "tmon: new: temperature: 31 °C"
    assert mail["Message-ID"]
    assert mail["Auto-Submitted"] == "auto-generated"
    assert text_of(mail) == "New\n- temperature: 31 °C\n"


@pytest.mark.parametrize("path", ["", ":", ".", "bin"])
def test_a_sendmail_in_the_working_directory_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (tmp_path / "bin").mkdir()
    for folder in (tmp_path, tmp_path / "bin"):
        stand_in_sendmail(folder)
    monkeypatch.setattr("tmon.watch.sendmail.FOLDERS", "/nowhere")
    monkeypatch.setenv("PATH", path)
    monkeypatch.chdir(tmp_path)
    station = Station(tmp_path)
    station.began()
    [failure] = send_new_events(station.db, station.settings, NOW_MS)
    assert "this machine has no sendmail" in failure


@pytest.mark.parametrize(
    ("status", "to", "why"),
    [
        (75, "root", "sendmail ended with 75"),
        (None, "root", "this machine has no sendmail"),
        (0, "<", "TMON_MAIL_TO isn't a mail address"),
    ],
)
def test_a_sendmail_that_fails_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int | None, to: str, why: str
) -> None:
    monkeypatch.setattr("tmon.watch.sendmail.FOLDERS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    if status is not None:
        stand_in_sendmail(tmp_path, status=status)
    station = Station(tmp_path, TMON_MAIL_TO=to)
    station.began()
    [failure] = send_new_events(station.db, station.settings, NOW_MS)
    assert why in failure
    assert station.failed() == ["sendmail"]


def test_if_the_database_cannot_be_written_the_findings_are_sent_anyway(
    tmp_path: Path, mailbox: Mailbox, listener: Listener
) -> None:
    station = Station(
        tmp_path, mailto(mailbox), f"ntfy://{listener.address}/t", "json://127.0.0.1:1"
    )
    lines = ["disk: full", "cellar: silent"]
    failures = send_unrecorded(station.settings, lines)
    assert failures == ["json (address 3 of TMON_NOTIFY): not sent: no connection"]
    [mail] = mailbox.mails
    assert mail["Subject"] == "tmon: 2 found"
    assert "can't be written" in text_of(mail)
    assert text_of(mail).endswith("Found\n- disk: full\n- cellar: silent\n")
    assert "disk: full" in listener.requests[0].json["message"]
    assert station.channels() == []


def test_apprise_is_loaded_only_if_a_channel_uses_it() -> None:
    loaded = (
        "import sys, tmon.cli.main, tmon.watch.outbox, tmon.watch.ping;"
        " print('apprise' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
