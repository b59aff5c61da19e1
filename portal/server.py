"""gunicorn's settings; `gunicorn -c portal/server.py portal.wsgi`."""

import gc
import os
from pathlib import Path
from typing import Any

from portal.orphans import die_with_parent

is_https = os.environ.get("HTTPS", "") not in {"", "0"}
data_dir = Path(os.environ.get("PORTAL_DATA_DIR", "var")).resolve()

# With HTTPS=1 phones on the same network may come; without it only this machine, or a proxy on it.
bind = f"{os.environ.get('PORTAL_BIND', '0.0.0.0' if is_https else '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
worker_class = "gthread"
workers = int(os.environ.get("PORTAL_WEB_WORKERS", "2"))
threads = int(os.environ.get("PORTAL_WEB_THREADS", "8"))
timeout = 120
graceful_timeout = 20
keepalive = 30
umask = 0o077
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None
if is_https:
    certfile = os.environ.get("PORTAL_TLS_CERTIFICATE", str(data_dir / "keys" / "tls.crt"))
    keyfile = os.environ.get("PORTAL_TLS_KEY", str(data_dir / "keys" / "tls.key"))
# No remote control: what is not needed cannot be misused.
control_socket_disable = True


def post_fork(server: Any, worker: Any) -> None:
    """Free the port at once when gunicorn's master is killed; look for cycles seldom."""
    die_with_parent(server.pid)
    # A batch of images makes rows by the thousand and few cycles: to look after each 700 costs a tenth of the request.
    gc.set_threshold(50_000, 20, 50)
