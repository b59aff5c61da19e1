"""What a DICOMweb request can be refused for; each carries its HTTP status (PS3.18 8.5) and a stable code."""

from __future__ import annotations

from http import HTTPStatus


class DicomwebError(Exception):
    """A request that cannot be served. `code` is stable, `message` is a plain sentence without PHI."""

    status = HTTPStatus.BAD_REQUEST
    code = "bad-request"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class BadRequestError(DicomwebError):
    """The request is malformed, or asks for a match that this server does not do."""


class NotAcceptableError(DicomwebError):
    """None of the media types and transfer syntaxes asked for can be made from what is stored."""

    status = HTTPStatus.NOT_ACCEPTABLE
    code = "not-acceptable"


class LengthRequiredError(DicomwebError):
    """The body has neither a length nor an end that the server can see."""

    status = HTTPStatus.LENGTH_REQUIRED
    code = "length-required"


class PayloadTooLargeError(DicomwebError):
    """The body is longer than this server takes in one request."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "payload-too-large"


class UnsupportedMediaTypeError(DicomwebError):
    """The body is not of a media type that can be stored."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = "unsupported-media-type"


class RangeNotSatisfiableError(DicomwebError):
    """The byte range lies outside the resource (RFC 9110 section 14.1.2)."""

    status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    code = "range-not-satisfiable"
