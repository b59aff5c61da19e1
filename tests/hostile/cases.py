"""What a case of the corpus is: bytes made when they are asked for, and the answer that they must get."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

# What takes no part in the proof: any of these outcomes is an answer to bytes whose sense is a matter of taste.
STORED = "stored"
REJECTED = "rejected"
IGNORED = "ignored"
EXPANDED = "expanded"
CONFLICT = "conflict"


@dataclass(frozen=True)
class Case:
    """One hostile input.

    `outcome` and `code`: what the upload's row must say afterwards; no code for what is stored. `members`: of an
    archive, how many of its members end how, as {"stored": 1, "rejected bad-uid": 2}.
    """

    name: str
    make: Callable[[], bytes]
    outcome: str
    code: str = ""
    members: tuple[tuple[str, int], ...] = ()

    @property
    def answer(self) -> str:
        """Outcome and code in one word or two."""
        return f"{self.outcome} {self.code}".strip()


def stored(name: str, make: Callable[[], bytes]) -> Case:
    """What is kept, because a PACS has to keep it, and must then do no harm when it is looked at."""
    return Case(name, make, STORED)


def rejected(code: str, name: str, make: Callable[[], bytes]) -> Case:
    """What is refused with this code."""
    return Case(name, make, REJECTED, code)


def uid_for(name: str, part: str = "instance") -> str:
    """The UID of a case: the same in every run, another for each name."""
    return f"2.25.{int.from_bytes(hashlib.sha256(f'{name} {part}'.encode()).digest()[:15])}"
