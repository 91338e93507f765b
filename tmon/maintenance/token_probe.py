"""Ask the ingest that runs on this machine whether it accepts tokens that are made here.

The probe is a token of generation 0, which is never valid. So it gives nothing away: ingest only
says whether the signature is its own, and another program that listens in its place learns
no more than from any token.
"""

import json
from contextlib import closing

from tmon.core.deadline import run_with_deadline
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
    # Loaded here, as it takes time and `tmon serve` needs none of it.
    from http.client import HTTPConnection  # noqa: PLC0415

    probe, verdict = Tokens(secret).make_probe(uid), None

    def ask() -> None:
        nonlocal verdict
        with closing(HTTPConnection(url.removeprefix("http://"), timeout=patience_s)) as connection:
            connection.request("GET", "/healthz", headers={"Authorization": f"Bearer {probe}"})
            with connection.getresponse() as response:
                verdict = json.loads(response.read(MOST_BYTES)).get("token")

    # In a thread: neither a name lookup nor an answer that trickles in has a timeout of its own.
    for _ in run_with_deadline({url: ask}, patience_s):
        pass  # an error means that none runs, or that another program has its port
    reason = REASONS.get(verdict) if isinstance(verdict, str) else None
    return reason and f"the ingest at {url} refuses tokens made here: {reason}"
