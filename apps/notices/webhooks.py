"""A POST to an address that the operator chose, signed; nothing of a patient is ever in it."""

from __future__ import annotations

import hmac
import http.client
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 10


class WebhookError(Exception):
    """The address did not take the message; trying again later may help."""

    code = "webhook"


def post(url: str, body: bytes, secret: str) -> None:
    """Send a JSON body; the header X-Viewbox-Signature is `sha256=` and its HMAC under the secret.

    Redirects are not followed. Raises WebhookError for every answer but 2xx, and for none.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise WebhookError("The address of the webhook is no http(s) URL.")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
    headers = {"Content-Type": "application/json", "User-Agent": "Viewbox"}
    if secret:
        headers["X-Viewbox-Signature"] = f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"
    try:
        connection.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise WebhookError(f"The webhook does not answer ({type(error).__name__}).") from error
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise WebhookError(f"The webhook answers {status}.")
