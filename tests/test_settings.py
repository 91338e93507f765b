"""Settings: each with a variable and a flag, and every problem told at once."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from tmon.cli.main import main
from tmon.core.settings import SERVED, SETTINGS, InvalidSettings, Settings


def test_the_defaults() -> None:
    settings = Settings.load({})
    assert settings == Settings(
        db=Path("tmon.db"),
        secret=None,
        secret_file=Path("tmon.db.secret"),
        host="127.0.0.1",
        port=13117,
        datasette_host="127.0.0.1",
        datasette_port=8001,
        public_url="",
        ingest_url="",
        rate=0.0,
        download_dir=None,
        log_level="warning",
        log_format="text",
        notify=(),
        mail_to="root",
        ping_url="",
    )


def test_the_secret_lies_beside_the_database() -> None:
    settings = Settings.load({"TMON_DB": "/srv/station/lab.db"})
    assert settings.secret_file == Path("/srv/station/lab.db.secret")


def test_every_setting_can_be_set() -> None:
    settings = Settings.load(
        {
            "TMON_DB": "a.db",
            "TMON_SECRET": "sixteen bytes or",
            "TMON_SECRET_FILE": "b",
            "TMON_HOST": "::1",
            "TMON_PORT": "0",
            "TMON_DATASETTE_HOST": "0.0.0.0",
            "TMON_DATASETTE_PORT": "80",
            "TMON_PUBLIC_URL": "https://tmon.example.org/",
            "TMON_RATE": "0.5",
            "TMON_INGEST_URL": "https://tmon.example.org/ingest/",
            "TMON_LOG_FORMAT": "json",
            "TMON_NOTIFY": "mailto://a  ntfy://b\n",
        }
    )
    assert settings.secret == b"sixteen bytes or"
    assert settings.public_url == "https://tmon.example.org"
    assert settings.ingest_url == "https://tmon.example.org/ingest"
    assert settings.log_format == "json"
    assert settings.notify == ("mailto://a", "ntfy://b")
    assert (settings.host, settings.port, settings.rate) == ("::1", 0, 0.5)


def test_all_problems_are_told_at_once_in_words() -> None:
    with pytest.raises(InvalidSettings) as invalid:
        Settings.load(
            {
                "TMON_DB": "",
                "TMON_HOST": "http://x",
                "TMON_PORT": "70000",
                "TMON_DATASETTE_PORT": "-1",
                "TMON_PUBLIC_URL": "ftp://x",
                "TMON_RATE": "nan",
                "TMON_LOG_LEVEL": "loud",
            }
        )
    problems = str(invalid.value).splitlines()
    assert [problem.split()[0] for problem in problems] == [
        "TMON_DB",
        "TMON_HOST",
        "TMON_PORT",
        "TMON_DATASETTE_PORT",
        "TMON_PUBLIC_URL",
        "TMON_RATE",
        "TMON_LOG_LEVEL",
    ]
    assert "'70000' must be a port" in problems[2]


SERVED_SETTINGS = [setting for setting in SETTINGS if setting.name in SERVED]


@pytest.mark.parametrize("setting", SERVED_SETTINGS, ids=lambda setting: setting.name)
def test_serve_has_a_flag_for_each(setting: object) -> None:
    shown = CliRunner().invoke(main, ["serve", "--help"]).output
    assert f"{setting.flag} " in shown  # type: ignore[attr-defined]
    assert setting.variable in shown  # type: ignore[attr-defined]


def test_a_flag_goes_before_its_variable(tmp_path: Path) -> None:
    run = CliRunner().invoke(
        main,
        ["token", "get", "a", "--db", str(tmp_path / "flag.db")],
        env={"TMON_DB": str(tmp_path / "variable.db")},
    )
    assert run.exit_code == 0
    assert (tmp_path / "flag.db").exists()
    assert not (tmp_path / "variable.db").exists()


@pytest.mark.parametrize(
    "weak", ["a", " ", "\t\n", "fifteen bytes..", " " * 40, "fifteen bytes.. "]
)
def test_a_secret_that_can_be_guessed_is_refused_and_not_shown(weak: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        Settings.load({"TMON_SECRET": weak})
    assert str(refused.value) == (
        "TMON_SECRET (--secret): it must have at least 16 bytes: less can be guessed"
    )
