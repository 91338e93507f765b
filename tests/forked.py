"""Commands of ``tmon``, each in a process that is forked from one that has imported them.

Importing them takes a quarter of a second, and tests run hundreds.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tmon.__main__ import main

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__, "tmon.cli.main"])


def tmon(
    folder: Path, *arguments: str, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run ``tmon`` to its end."""
    with tempfile.TemporaryDirectory() as output:
        out, err = Path(output, "stdout"), Path(output, "stderr")
        run = (folder, arguments, {**os.environ, **(environ or {})}, out, err)
        process = FORKS.Process(target=_run, args=run)
        process.start()
        process.join()
        status = process.exitcode
        assert status is not None
        return subprocess.CompletedProcess(arguments, status, out.read_text(), err.read_text())


def _run(
    folder: Path, arguments: Sequence[str], environ: Mapping[str, str], out: Path, err: Path
) -> None:
    """Become ``tmon``, with a folder, an environment and output files of its own."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    for stream, path in ((sys.stdout, out), (sys.stderr, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream.fileno())
    sys.argv = ["tmon", *arguments]
    main()
