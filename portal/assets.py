"""Compile the translations and collect the program assets; `python -m portal.assets`, nothing to do the second time."""

from __future__ import annotations

import os
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parent.parent


def compile_translations() -> None:
    """Write django.mo beside every django.po that is newer (what msgfmt does, without a system gettext)."""
    for source in ROOT.glob("locale/*/LC_MESSAGES/*.po"):
        target = source.with_suffix(".mo")
        if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
            continue
        with source.open("rb") as text, target.open("wb") as compiled:
            write_mo(compiled, read_po(text))


def collect_static() -> None:
    """Hash, compress and gather static/ when something in it is newer than the last gathering."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    import django
    from django.conf import settings
    from django.core.management import call_command

    stamp = Path(settings.STATIC_ROOT) / "staticfiles.json"
    sources = [path for path in (ROOT / "static").rglob("*") if (ROOT / "static" / "root") not in path.parents]
    if stamp.exists() and all(path.stat().st_mtime <= stamp.stat().st_mtime for path in sources):
        return
    django.setup()
    # Earlier files stay: a server that runs from this folder still names them.
    call_command("collectstatic", interactive=False, verbosity=0, ignore_patterns=["root", "tour", "viewer"])


if __name__ == "__main__":
    compile_translations()
    collect_static()
