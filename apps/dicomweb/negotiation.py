"""Which representation a client gets: Accept (RFC 9110 12.5.1) and media types of DICOMweb (PS3.18 8.7).

Pure: strings in, a decision out. Nothing here knows of requests, databases or bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"

APPLICATION_DICOM = "application/dicom"
APPLICATION_DICOM_JSON = "application/dicom+json"
OCTET_STREAM = "application/octet-stream"
MULTIPART_RELATED = "multipart/related"
ANY = "*/*"

_JPEG = "1.2.840.10008.1.2.4."

# PS3.18 Table 8.7.3-4 and 8.7.3-5: what one frame, or one video, of a compressed transfer syntax is called.
MEDIA_TYPE_OF_TRANSFER_SYNTAX: Mapping[str, str] = {
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    **{_JPEG + leaf: "image/jpeg" for leaf in ("50", "51", "57", "70")},
    **{_JPEG + leaf: "image/jls" for leaf in ("80", "81")},
    **{_JPEG + leaf: "image/jp2" for leaf in ("90", "91")},
    **{_JPEG + leaf: "image/jpx" for leaf in ("92", "93")},
    **{_JPEG + leaf: "image/jxl" for leaf in ("110", "111", "112")},
    **{_JPEG + leaf: "image/jphc" for leaf in ("201", "202", "203")},
    **{_JPEG + leaf: "video/mpeg2" for leaf in ("100", "100.1", "101", "101.1")},
    **{
        _JPEG + leaf: "video/mp4"
        for leaf in ("102", "102.1", "103", "103.1", "104", "104.1", "105", "105.1", "106", "106.1")
    },
    **{_JPEG + leaf: "video/h265" for leaf in ("107", "108")},
}

# Names used before PS3.18 2016 that clients still send.
_FORMER_NAMES: Mapping[str, str] = {"image/x-jls": "image/jls", "image/x-dicom-rle": "image/dicom-rle"}

_LOSSY = frozenset(_JPEG + leaf for leaf in ("50", "51", "81", "91", "93", "111", "112", "203"))


def is_compressed(transfer_syntax_uid: str) -> bool:
    """Tell whether pixel data is encapsulated; a deflated data set is not (its pixels are native once inflated)."""
    return transfer_syntax_uid in MEDIA_TYPE_OF_TRANSFER_SYNTAX


def is_lossy(transfer_syntax_uid: str) -> bool:
    """Tell whether pixels lost information for good; JPEG-LS and JPEG 2000 syntaxes that may be lossy count as such."""
    return transfer_syntax_uid in _LOSSY or MEDIA_TYPE_OF_TRANSFER_SYNTAX.get(transfer_syntax_uid, "").startswith(
        "video/"
    )


def media_type_of(transfer_syntax_uid: str) -> str:
    """Return the media type of bulk pixel data in a transfer syntax (PS3.18 Tables 8.7.3-3 to 8.7.3-5)."""
    return MEDIA_TYPE_OF_TRANSFER_SYNTAX.get(transfer_syntax_uid, OCTET_STREAM)


@dataclass(frozen=True)
class MediaRange:
    """One element of an Accept header: lower-case type, parameters with lower-case names (without q), quality 0..1."""

    media_type: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    quality: float = 1.0

    @property
    def is_multipart(self) -> bool:
        """Tell whether the client takes a multipart answer under this range."""
        return self.media_type in (MULTIPART_RELATED, "multipart/*", ANY)

    @property
    def part_type(self) -> str:
        """Return the media type of the parts (`type` of multipart/related, RFC 2387), or the type itself."""
        if self.media_type == ANY:
            return ANY
        if self.is_multipart:
            return _modern(self.parameters.get("type", ANY).lower())
        return _modern(self.media_type)

    @property
    def transfer_syntax(self) -> str | None:
        """Return the transfer-syntax parameter: a UID, "*" for whatever is stored, None when not given."""
        return self.parameters.get("transfer-syntax")


def _modern(media_type: str) -> str:
    return _FORMER_NAMES.get(media_type, media_type)


def _split(text: str, separator: str) -> list[str]:
    """Split outside quoted strings (RFC 9110 5.6.4); quotes and escapes stay in the pieces."""
    pieces: list[str] = []
    piece: list[str] = []
    is_quoted = is_escaped = False
    for character in text:
        if is_quoted:
            if is_escaped:
                is_escaped = False
            elif character == "\\":
                is_escaped = True
            elif character == '"':
                is_quoted = False
        elif character == '"':
            is_quoted = True
        elif character == separator:
            pieces.append("".join(piece))
            piece = []
            continue
        piece.append(character)
    pieces.append("".join(piece))
    return [stripped for stripped in (one.strip() for one in pieces) if stripped]


def _unquote(text: str) -> str:
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    return inner.replace('\\"', '"').replace("\\\\", "\\")


def parse_media_type(value: str) -> tuple[str, dict[str, str]]:
    """Return the lower-case media type of a header value and its parameters, names in lower case, values unquoted."""
    media_type, *rest = _split(value, ";") or [""]
    parameters: dict[str, str] = {}
    for item in rest:
        name, equals, text = item.partition("=")
        if equals:
            parameters.setdefault(name.strip().lower(), _unquote(text.strip()))
    return media_type.lower(), parameters


def parse_accept(value: str) -> list[MediaRange]:
    """Return the ranges of an Accept header, the best first; what is malformed or has q=0 is left out.

    Ranges of the same quality keep their order, which clients use as their order of preference. An empty header means
    that everything is acceptable (RFC 9110 12.5.1).
    """
    ranges: list[MediaRange] = []
    for element in _split(value, ","):
        media_type, parameters = parse_media_type(element)
        if media_type.count("/") != 1 or not all(media_type.split("/")):
            continue
        try:
            quality = min(max(float(parameters.pop("q", "1")), 0.0), 1.0)
        except ValueError:
            continue
        if quality > 0:
            ranges.append(MediaRange(media_type, parameters, quality))
    if not ranges and not value.strip():
        ranges.append(MediaRange(ANY))
    return sorted(ranges, key=lambda one: -one.quality)


def acceptable(header: str, parameters: Iterable[str]) -> list[MediaRange]:
    """Return what a request accepts: the `accept` query parameter before the header (PS3.18 8.3.3.1)."""
    asked = ",".join(parameters)
    return parse_accept(asked if asked.strip() else header)


def takes_encoding(header: str, coding: str) -> bool:
    """Tell whether an Accept-Encoding header names a content coding with a quality above 0 (RFC 9110 12.5.3)."""
    for element in _split(header.lower(), ","):
        name, parameters = parse_media_type(element)
        if name == coding:
            try:
                return float(parameters.get("q", "1")) > 0
            except ValueError:
                return False
    return False


def covers(media_range: str, media_type: str) -> bool:
    """Tell whether a media type falls under a range such as `image/*`."""
    if media_range in (ANY, media_type):
        return True
    return media_range.endswith("/*") and media_type.startswith(media_range[:-1])


def choose(ranges: Sequence[MediaRange], offers: Sequence[str]) -> str | None:
    """Return the single-part media type to answer with, None when no offer is acceptable. `offers`: the best first."""
    for media_range in ranges:
        for offer in offers:
            if covers(media_range.media_type, offer):
                return offer
    return None


@dataclass(frozen=True)
class Representation:
    """How bytes go out: wrapped in multipart or alone, under which name, and whether they must be decoded first."""

    is_multipart: bool
    media_type: str
    transfer_syntax_uid: str
    is_as_stored: bool

    @property
    def content_type(self) -> str:
        """Return the Content-Type of the part (PS3.18 8.7.3.5: the transfer syntax is named)."""
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax_uid}"


def choose_frames(
    ranges: Sequence[MediaRange], transfer_syntax_uid: str, *, frame_count: int = 1, may_decode: bool = True
) -> Representation | None:
    """Decide how frames, or the pixel data as bulk data, go out; None when nothing asked for is possible (406).

    `transfer_syntax_uid` is the stored one. Native pixels are always sent little endian, so their transfer syntax is
    Explicit VR Little Endian (PS3.18 Table 8.7.3-3) whatever the data set's was; big endian counts as decoding.
    A compressed frame goes out as stored where the client takes its transfer syntax, and is decoded where the client
    takes octets; frames are never compressed anew. A single-part answer holds one frame only (PS3.18 8.7.4).
    """
    stored_type = media_type_of(transfer_syntax_uid)
    is_stored_native = not is_compressed(transfer_syntax_uid)
    out_syntax = EXPLICIT_VR_LITTLE_ENDIAN if is_stored_native else transfer_syntax_uid
    is_as_stored = transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN
    for media_range in ranges:
        if not media_range.is_multipart and frame_count != 1:
            continue
        part_type, syntax = media_range.part_type, media_range.transfer_syntax
        is_octets_wanted = covers(part_type, OCTET_STREAM)
        stored = Representation(media_range.is_multipart, stored_type, out_syntax, is_as_stored)
        decoded = Representation(media_range.is_multipart, OCTET_STREAM, EXPLICIT_VR_LITTLE_ENDIAN, False)
        if is_stored_native:
            is_syntax_fitting = syntax in (None, "*", EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax_uid)
            if is_octets_wanted and is_syntax_fitting and (is_as_stored or may_decode):
                return stored
            continue
        if syntax in ("*", transfer_syntax_uid) and (is_octets_wanted or covers(part_type, stored_type)):
            return stored
        if syntax is None and covers(part_type, stored_type):
            return stored
        if is_octets_wanted and syntax in (None, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN) and may_decode:
            return decoded
    return None


@dataclass(frozen=True)
class InstanceNegotiation:
    """What a client takes as whole instances; `syntax_for` decides instance by instance."""

    is_multipart: bool
    is_any_accepted: bool
    accepted: frozenset[str]

    def syntax_for(self, transfer_syntax_uid: str) -> str | None:
        """Return the transfer syntax to send an instance in, given the stored one; None when impossible.

        The default is Explicit VR Little Endian. What is stored lossy goes out as stored even then, since decoding
        would pretend to a quality that is gone (PS3.18 8.7.3.5.2 leaves the origin server this choice).
        """
        if self.is_any_accepted or transfer_syntax_uid in self.accepted:
            return transfer_syntax_uid
        if EXPLICIT_VR_LITTLE_ENDIAN in self.accepted:
            return transfer_syntax_uid if is_lossy(transfer_syntax_uid) else EXPLICIT_VR_LITTLE_ENDIAN
        return None


def choose_instances(ranges: Sequence[MediaRange], *, is_single: bool) -> InstanceNegotiation | None:
    """Decide how whole instances go out; None when the client takes no application/dicom (406).

    The answer is multipart/related; the bare `application/dicom` is given only to who asks for one instance that way.
    A bare `*/*`, or no Accept at all, gets the stored bytes. All acceptable transfer syntaxes of the best form count.
    """
    is_multipart: bool | None = None
    is_any_accepted = False
    accepted: set[str] = set()
    for media_range in ranges:
        if not covers(media_range.part_type, APPLICATION_DICOM):
            continue
        if not media_range.is_multipart and not is_single:
            continue
        if is_multipart is None:
            is_multipart = media_range.is_multipart
        if media_range.is_multipart != is_multipart:
            continue
        if media_range.transfer_syntax is not None:
            is_any_accepted |= media_range.transfer_syntax == "*"
            accepted.add(media_range.transfer_syntax)
        elif media_range.part_type == APPLICATION_DICOM:
            accepted.add(EXPLICIT_VR_LITTLE_ENDIAN)
        else:
            is_any_accepted = True
    if is_multipart is None:
        return None
    return InstanceNegotiation(is_multipart, is_any_accepted, frozenset(accepted))
