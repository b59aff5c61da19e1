"""Which places are to hold a blob, and in which order they are asked for it."""

import logging
import threading
import time
from collections.abc import Iterable

from django.conf import settings

from apps.storage.errors import PlaceUnavailableError, StorageError
from apps.storage.models import Blob
from apps.storage.places import PRIMARY

log = logging.getLogger(__name__)

REST_SECONDS = 10.0
"""For how long a place that did not answer is asked last: nobody waits for it on every read."""
LONGEST_REST_SECONDS = 120.0
"""Each time that it still does not answer it is left alone for twice as long."""

_resting: dict[str, float] = {}
_last_rest: dict[str, float] = {}
_resting_lock = threading.Lock()


def all_places() -> list[str]:
    """Return the names of all places that hold copies, the first one first."""
    return [PRIMARY, *settings.REPLICAS]


def places_to_write() -> list[str]:
    """Return the places in the order in which new bytes are offered to them: those that answered last come first."""
    return _answering_first(all_places())


def places_to_read(blob: Blob) -> list[str]:
    """Return the places that may hold a blob: where it was written first, then the others; resting ones last."""
    return _answering_first(dict.fromkeys([blob.place, *all_places()]))


def note_trouble(place: str, error: StorageError) -> None:
    """Let a place that does not answer rest for a while in this process. Damage to one blob says nothing of others."""
    if isinstance(error, PlaceUnavailableError):
        now = time.monotonic()
        with _resting_lock:
            if _resting.get(place, 0.0) <= now:
                # Failed again soon after its rest was over: it is not back yet.
                is_again = now < _resting.get(place, 0.0) + LONGEST_REST_SECONDS and place in _last_rest
                rest = min(2 * _last_rest[place], LONGEST_REST_SECONDS) if is_again else REST_SECONDS
                _resting[place], _last_rest[place] = now + rest, rest
        log.warning("a storage place does not answer", extra={"place": place, "code": error.code})


def is_resting(place: str) -> bool:
    """Whether a place is asked last at the moment."""
    return _resting.get(place, 0.0) > time.monotonic()


def forget_trouble() -> None:
    """Ask every place again."""
    with _resting_lock:
        _resting.clear()
        _last_rest.clear()


def _answering_first(places: Iterable[str]) -> list[str]:
    return sorted(places, key=is_resting)
