"""The drill's own process for many drills: each line of standard input is one, done in a fork, its report one line out.

What a drill starts with (Django, its settings) is loaded once; everything else is as `manage.py drill --child` does it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import django


def main() -> None:
    """Answer until the input ends."""
    django.setup()
    from django.conf import settings
    from django.db import connections

    from apps.backup.examining import Wanted, examine

    for line in sys.stdin:
        given = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            connections.close_all()
            work = Path(given["work"])
            shutil.rmtree(settings.DATA_DIR, ignore_errors=True)
            Path(settings.DATA_DIR).mkdir(parents=True)
            if given.get("master_key"):
                settings.MASTER_KEY = given["master_key"]
            try:
                report = examine(Wanted(**given["wanted"]), work)
            except BaseException as error:
                report = {"crashed": repr(error), **asdict(Wanted(**given["wanted"]))}
            os.write(writer, json.dumps(report).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answer:
            sys.stdout.write(answer.read() + "\n")
            sys.stdout.flush()
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
