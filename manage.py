#!/usr/bin/env python3
"""The commands of ``tmon``, run from a checkout: ``python manage.py get_token basement``.

``get_token``, ``list`` and ``run`` are other names for ``tmon token get``, ``tmon token list``
and ``tmon serve``.
"""

import sys

# Search this folder last, so that a queue.py in it doesn't replace the standard library's.
sys.path.append(sys.path.pop(0))

import os
from pathlib import Path

VENV_PYTHON = Path(__file__).resolve().parent / ".venv" / "bin" / "python"

if __name__ == "__main__":
    try:
        from tmon.__main__ import EndedByCtrlC

        with EndedByCtrlC():
            from tmon.cli import main, options, serve, tokens
    except ModuleNotFoundError:
        if not VENV_PYTHON.exists() or sys.prefix == str(VENV_PYTHON.parent.parent):
            sys.exit("tmon isn't installed here yet: run `make install`")
        os.execv(VENV_PYTHON, [str(VENV_PYTHON), *sys.argv])  # noqa: S606 - our own interpreter

    manage = options.Commands(
        help=__doc__,
        commands={
            **main.main.commands,
            "get_token": tokens.get,
            "list": tokens.list_,
            "run": serve.serve,
        },
    )
    manage()
