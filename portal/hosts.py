"""The names under which this machine may be called."""

from __future__ import annotations

import socket


def own_names() -> tuple[list[str], list[str]]:
    """Return this machine's host names and addresses, under which a phone on the same network may call it."""
    host = socket.gethostname()
    addresses = {"127.0.0.1", "::1"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing; it only asks which own address would be used.
            probe.connect(("192.0.2.1", 9))
            addresses.add(probe.getsockname()[0])
        except OSError:
            pass  # no network: only this machine can call
    return ["localhost", host], sorted(addresses)
