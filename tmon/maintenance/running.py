"""Whether the ingest that runs on this machine takes the tokens that are made here.

It is asked with a token of generation 0, which is valid nowhere. So nothing of the secret is
told to anybody: ingest only says whether the signature is its own, and what listens in its
place learns no more than from any token that is sent there.
"""

import json
from contextlib import closing
from queue import Empty, SimpleQueue
from threading import Thread

from tmon.core.settings import Settings, local_url
from tmon.db.tokens import Tokens, station_secret

PATIENCE_S = 0.5  # for all of it: who wants a token doesn't wait for who isn't there
MOST_BYTES = 4096

DIFFERENT = {
    "other_secret": (
        "it has another secret. Give both the same TMON_SECRET, TMON_SECRET_FILE and TMON_DB, "
        "or start it again if the secret was changed"
    ),
    "unknown_node": "it has another database. Give both the same TMON_DB",
}


def refusal(settings: Settings, token: str) -> str | None:
    """Why the running ingest refuses a token that was made just now; see ``difference``."""
    _, uid, _, _ = token.split(".")
    url = local_url(settings.host, settings.port)
    return difference(url, station_secret(settings), uid) if url else None


def difference(url: str, secret: bytes, uid: str, patience_s: float = PATIENCE_S) -> str | None:
    """Why the ingest at ``url`` refuses tokens of the node ``uid`` that ``secret`` signs.

    Returns:
        A sentence; None where it takes them, doesn't answer in time, or none runs.
    """
    import http.client  # noqa: F401, PLC0415 - `tmon serve` spares it; loading it takes its time

    answers: SimpleQueue[object] = SimpleQueue()
    # In a thread: neither looking a name up nor an answer that trickles in ends by itself.
    asking = [url, Tokens(secret).make_probe(uid), patience_s, answers]
    Thread(target=_ask, args=asking, daemon=True).start()
    try:
        said = answers.get(timeout=patience_s)
    except Empty:
        return None
    why = DIFFERENT.get(said) if isinstance(said, str) else None
    return why and f"the ingest at {url} refuses tokens made here: {why}"


def _ask(url: str, probe: str, patience_s: float, answers: "SimpleQueue[object]") -> None:
    """Put what ingest says of the probe into ``answers``, or None."""
    from http.client import HTTPConnection, HTTPException  # noqa: PLC0415

    said = None
    try:
        with closing(HTTPConnection(url.removeprefix("http://"), timeout=patience_s)) as asked:
            asked.request("GET", "/healthz", headers={"Authorization": f"Bearer {probe}"})
            with asked.getresponse() as answer:
                said = json.loads(answer.read(MOST_BYTES)).get("token")
    except (OSError, HTTPException, ValueError, AttributeError):
        pass  # none runs, or another program has its port
    answers.put(said)
