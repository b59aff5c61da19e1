"""The master key wrapped by a key that never leaves AWS KMS (https://docs.aws.amazon.com/kms/, Encrypt and Decrypt).

Only the wrapped master key lies on the disk: whoever takes the disk needs the right to call KMS as well. Endpoint,
region and credentials are those of boto3: a role of the machine, or the usual environment variables.
"""

import base64
import binascii
import time
from hashlib import sha256
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.utils.translation import gettext as _

from apps.keys.errors import KeyUnavailableError

CACHE_SECONDS = 300
CONTEXT = {"viewbox": "master key"}
"""Bound to the wrapped key, and shown in the trail that AWS keeps of every use."""

_opened: dict[bytes, tuple[bytes, float]] = {}


def wrap_with_kms(key_arn: str, master_key: bytes) -> str:
    """Return the master key as KMS wraps it, in base64; raises KeyUnavailableError."""
    answer = _ask(key_arn, "encrypt", Plaintext=master_key)
    return base64.b64encode(answer["CiphertextBlob"]).decode()


def open_with_kms(key_arn: str, wrapped: str) -> bytes:
    """Return the master key, remembered for minutes; raises KeyUnavailableError with the fix."""
    known = sha256(f"{key_arn} {wrapped}".encode()).digest()
    opened, expires_at = _opened.get(known, (b"", 0.0))
    if expires_at > time.monotonic():
        return opened
    try:
        ciphertext = base64.b64decode(wrapped.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise KeyUnavailableError(
            _("The master key file does not hold a key that KMS wrapped: see PORTAL_MASTER_KEY_KMS.")
        ) from None
    key: bytes = _ask(key_arn, "decrypt", CiphertextBlob=ciphertext)["Plaintext"]
    _opened[known] = (key, time.monotonic() + CACHE_SECONDS)
    return key


def _ask(key_arn: str, operation: str, **arguments: Any) -> dict[str, Any]:
    parts = key_arn.split(":")
    if len(parts) < 6 or parts[2] != "kms":
        raise KeyUnavailableError(_("PORTAL_MASTER_KEY_KMS is not the ARN of a KMS key."))
    try:
        # Any of the client's calls; the service has its own types for each.
        client: Any = boto3.client(
            "kms", region_name=parts[3], config=Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard"})
        )
        answer: dict[str, Any] = getattr(client, operation)(KeyId=key_arn, EncryptionContext=CONTEXT, **arguments)
    except (BotoCoreError, ClientError) as error:
        reason = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        raise KeyUnavailableError(
            _("AWS KMS does not open the master key (%(reason)s): check the key, the rights and the network.")
            % {"reason": reason}
        ) from error
    return answer
