"""Celery carries wake-ups only: every message is a job's number, the job row in the database is the truth."""

import os
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_process_init
from django.conf import settings
from kombu import Exchange, Queue

from portal.orphans import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

main_pid = os.getpid()  # the pool's processes are forked from the one that reads this
app = Celery("viewbox", task_cls="apps.clinics.tasks:ClinicTask")
app.conf.update(
    broker_url=settings.BROKER_URL,
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=True,
    # What a process holds back for itself is lost for a while when it dies, and keeps the clock waiting.
    worker_prefetch_multiplier=1,
    task_queues=[Queue(name, Exchange(name), routing_key=name) for name in ("celery", "clock")],
    # The clock has a queue of its own, read in turn with the other: a long queue of work does not stop it.
    task_routes={f"apps.jobs.tasks.{name}": {"queue": "clock"} for name in ("tick", "run_periodic")},
    worker_hijack_root_logger=False,
    worker_enable_remote_control=False,
    worker_max_tasks_per_child=2000,
    worker_send_task_events=False,
    timezone="UTC",
    # A tick that was not heard within its time is the next one's business: none pile up while no worker listens.
    beat_schedule={"tick": {"task": "apps.jobs.tasks.tick", "schedule": 5.0, "options": {"expires": 60.0}}},
)
if settings.BROKER_URL.startswith("filesystem"):
    queue = Path(settings.DATA_DIR) / "queue"
    folders = {
        "data_folder_in": queue / "messages",
        "data_folder_out": queue / "messages",
        "control_folder": queue / "control",
    }
    for folder in folders.values():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    app.conf.update(
        broker_transport="portal.transport:Transport",
        broker_transport_options={name: str(folder) for name, folder in folders.items()} | {"polling_interval": 0.02},
    )
else:
    # A broker that is away must not hold up an upload: the sweep finds the job.
    app.conf.update(
        broker_transport_options={"socket_connect_timeout": 2, "socket_timeout": 5, "visibility_timeout": 300}
    )
app.autodiscover_tasks(["apps.jobs"])


@worker_process_init.connect
def _end_with_the_worker(**_: Any) -> None:
    """Celery's pool outlives a killed worker and would wait for work for ever."""
    die_with_parent(main_pid)
