"""Studies to take away: as a ZIP or as the image of a disc, with directory and a page to look at, any range of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from apps.clinics.models import Clinic
from apps.exports.contents import files_of, instances_of, made_at
from apps.exports.formats import MEDIA_TYPES, file_name
from apps.exports.iso_layout import iso_layout
from apps.exports.layout import File, Layout
from apps.exports.models import Format
from apps.exports.preparing import content_of, exports_of, request_export
from apps.exports.ranges import respond
from apps.exports.receipts import fingerprint, receipt_response
from apps.exports.sending import facts, send_film, send_picture, send_prepared
from apps.exports.signing import is_signed, public_keys, sign
from apps.exports.watermark import mark
from apps.exports.zip_layout import zip_layout
from apps.exports.zip_reading import members_of
from apps.studies.models import Series, Study

__all__ = [
    "MEDIA_TYPES",
    "File",
    "Format",
    "Layout",
    "content_of",
    "exports_of",
    "facts",
    "file_name",
    "files_of",
    "fingerprint",
    "instances_of",
    "is_signed",
    "layout_of",
    "mark",
    "members_of",
    "public_keys",
    "receipt_response",
    "request_export",
    "respond",
    "send_film",
    "send_picture",
    "send_prepared",
    "sign",
    "zip_layout",
]

_LABEL = "VIEWBOX"


def layout_of(clinic: Clinic, studies: Iterable[Study], kind: Format, series: Sequence[Series] | None = None) -> Layout:
    """Return the layout of a file with these studies, or of these series of them alone.

    All rows are fetched and all that is prepared is read before this returns: call it with the clinic's scope open,
    after the audit record is written; iterate it whenever. Studies come with patient and clinic.
    """
    files = files_of(studies, series)
    if kind == Format.ISO:
        return iso_layout(files, label=_LABEL, made_at=made_at(files))
    return zip_layout(clinic, files)
