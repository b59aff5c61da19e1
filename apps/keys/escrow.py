"""The master key on paper: split into shares of words of which some are enough (SLIP-0039, Shamir's secret sharing).

One share says nothing about the key. Each word list carries a checksum, so that a word written down wrong is noticed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _
from shamir_mnemonic import MnemonicError, combine_mnemonics, generate_mnemonics

from apps.keys.errors import KeyUnavailableError
from apps.keys.master import KEY_BYTES, fingerprint

MOST_SHARES = 16
"""What the format can count."""


@dataclass(frozen=True)
class Share:
    """One sheet: its number, counted from 1, and its 33 words."""

    number: int
    words: Sequence[str]


def split(master_key: bytes, *, threshold: int, count: int) -> list[Share]:
    """Split a 32-byte key into ``count`` shares of which ``threshold`` give it back; raises ValueError."""
    if not 2 <= threshold <= count <= MOST_SHARES:
        raise ValueError(_("Choose at least 2 needed shares, and not more than there are; at most 16 in all."))
    [mnemonics] = generate_mnemonics(1, [(threshold, count)], master_key)
    return [Share(number, mnemonic.split()) for number, mnemonic in enumerate(mnemonics, 1)]


def join(shares: Iterable[str]) -> bytes:
    """Return the key from as many lists of words as are needed; raises KeyUnavailableError saying what is wrong."""
    lists = {" ".join(share.lower().split()) for share in shares}
    try:
        key: bytes = combine_mnemonics(lists - {""})
    except (MnemonicError, ValueError) as error:
        raise KeyUnavailableError(
            _("These words do not give a key: %(reason)s. Nothing was written.") % {"reason": str(error).rstrip(".")}
        ) from error
    if len(key) != KEY_BYTES:
        raise KeyUnavailableError(_("These words belong to something else than a master key of Viewbox."))
    return key


def spoken_fingerprint(master_key: bytes) -> str:
    """Return what stands on every sheet and tells one key from another: 16 hexadecimal digits in groups."""
    digits = fingerprint(master_key).hex()
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))
