"""Ask the ingest that runs on this machine whether it accepts tokens that are made here.

The probe is a token of generation 0, which is never valid. So it gives nothing away: ingest only
says whether the signature is its own, and another program that listens in its place learns
no more than from any token.
"""

import json
from contextlib import closing
from queue import Empty, SimpleQueue
from threading import Thread

from tmon.core.settings import Settings, local_url
from tmon.db.tokens import Tokens, load_or_create_secret

PATIENCE_S = 0.5  # in all: a person waits for a token, perhaps while no ingest runs
MOST_BYTES = 4096

REASONS = {
    "other_secret": (
        "it has another secret. Give both the same TMON_SECRET, TMON_SECRET_FILE and TMON_DB, "
        "or start it again if the secret was changed"
    ),
    "unknown_node": "it has another database. Give both the same TMON_DB",
}


def why_refused(settings: Settings, token: str) -> str | None:
    """Why the running ingest refuses a new token; see ``why_refused_at``."""
    _, uid, _, _ = token.split(".")
    url = local_url(settings.host, settings.port)
    return why_refused_at(url, load_or_create_secret(settings), uid) if url else None


def why_refused_at(url: str, secret: bytes, uid: str, patience_s: float = PATIENCE_S) -> str | None:
    """Why the ingest at ``url`` refuses tokens of the node ``uid`` that ``secret`` signs.

    Returns:
        A sentence; None where it accepts them, doesn't answer in time, or none runs.
    """
    import http.client  # noqa: F401, PLC0415 - loading it takes time, and `tmon serve` needs none

    answers: SimpleQueue[object] = SimpleQueue()
    # In a thread: a name lookup and an answer that trickles in have no timeout.
    args = [url, Tokens(secret).make_probe(uid), patience_s, answers]
    Thread(target=_probe, args=args, daemon=True).start()
    try:
        answer = answers.get(timeout=patience_s)
    except Empty:
        return None
    reason = REASONS.get(answer) if isinstance(answer, str) else None
    return reason and f"the ingest at {url} refuses tokens made here: {reason}"


def _probe(url: str, probe: str, patience_s: float, answers: "SimpleQueue[object]") -> None:
    """Put what ingest says of the probe into ``answers``, or None."""
    from http.client import HTTPConnection, HTTPException  # noqa: PLC0415

    verdict = None
    try:
        with closing(HTTPConnection(url.removeprefix("http://"), timeout=patience_s)) as connection:
            connection.request("GET", "/healthz", headers={"Authorization": f"Bearer {probe}"})
            with connection.getresponse() as response:
                verdict = json.loads(response.read(MOST_BYTES)).get("token")
    except (OSError, HTTPException, ValueError, AttributeError):
        pass  # none runs, or another program has its port
    answers.put(verdict)
