"""A line between a browser and an installation that can be slow, break, and break again and again."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

CHUNK_BYTES = 64 * 1024


class Line:
    """Passes TCP on to a port of this machine; TLS goes through unread."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.sent_bytes = 0
        self.breaks = 0
        # Bytes a second towards the server, for all connections together; 0: as fast as it goes.
        self.rate = 0
        self.break_every = 0.0
        self.down_after_bytes = 0
        self.is_down = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._is_over = threading.Event()
        self.base_url = f"https://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._break_again, daemon=True).start()

    def break_all(self) -> None:
        """Reset every connection, as a router does that is switched off and on."""
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):
                    # Zero seconds of lingering: a reset, and what is under way is lost.
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self._open.clear()
            self.breaks += 1

    def close(self) -> None:
        """End."""
        self._is_over.set()
        self._server.close()
        self.break_all()

    def _break_again(self) -> None:
        while not self._is_over.wait(self.break_every or 0.2):
            if self.break_every:
                self.break_all()

    def _accept(self) -> None:
        while not self._is_over.is_set():
            try:
                browser, _ = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                continue
            if self.is_down:
                browser.close()
                server.close()
                continue
            with self._lock:
                self._open |= {browser, server}
            threading.Thread(target=self._pass, args=(browser, server, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, browser, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, is_upwards: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                if is_upwards and self.rate:
                    time.sleep(len(data) / self.rate)
                target.sendall(data)
                if is_upwards:
                    self.sent_bytes += len(data)
                    if self.down_after_bytes and self.sent_bytes > self.down_after_bytes:
                        self.down_after_bytes, self.is_down = 0, True
                        self.break_all()
        for end in (source, target):
            with self._lock:
                self._open.discard(end)
            with contextlib.suppress(OSError):
                # Closing alone would not wake the thread that listens the other way.
                end.shutdown(socket.SHUT_RDWR)
            end.close()
