"""Pings to a monitor that notices when the checker dies."""

import pytest

from tests.notify.receivers import Listener
from tmon.core.settings import Settings
from tmon.watch.ping import ping


def settings(url: str) -> Settings:
    return Settings.load({"TMON_PING_URL": url})


@pytest.mark.parametrize(
    ("what", "path"), [("start", "/uuid/start"), ("success", "/uuid"), ("fail", "/uuid/fail")]
)
def test_start_success_and_fail_have_their_own_paths(
    listener: Listener, what: str, path: str
) -> None:
    assert ping(settings(f"http://{listener.address}/uuid"), what) is None
    assert [(one.method, one.path) for one in listener.requests] == [("GET", path)]


def test_without_an_address_nothing_is_requested() -> None:
    assert ping(settings(""), "start") is None


def test_a_failed_ping_is_reported_without_the_address(listener: Listener, hanging: str) -> None:
    listener.status = 404
    failed = ping(settings(f"http://{listener.address}/hunter2"), "success")
    assert failed == "TMON_PING_URL (success): the answer was 404"
    failed = ping(settings("http://127.0.0.1:1/hunter2"), "fail")
    assert failed == "TMON_PING_URL (fail): ConnectionError"
    failed = ping(settings(f"http://{hanging}/hunter2"), "start", timeout_s=0.2)
    assert failed == "TMON_PING_URL (start): TimeoutError"
