"""A job that was accepted is done once, whatever happens to the process that does it (F1)."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from apps.clinics.models import Clinic
from apps.clinics.scoping import scoped_clinic_id
from apps.jobs import pipeline, tasks
from apps.jobs.errors import FinalError
from apps.jobs.models import Job, WorkerPulse
from apps.jobs.registry import HANDLERS
from apps.jobs.services import enqueue, has_live_worker, process_until_idle, register


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Register a handler of kind `count` whose effects add the payload's number to the returned list."""
    done: list[int] = []
    monkeypatch.setitem(HANDLERS, "count", lambda job: lambda: done.append(job.payload["number"]))
    return done


def test_queued_jobs_are_worked_off_once(db: None, handler: list[int]) -> None:
    for number in range(3):
        enqueue("count", {"number": number})
    assert process_until_idle() == 3
    assert handler == [0, 1, 2]
    assert process_until_idle() == 0


def test_a_second_signal_for_a_running_job_does_nothing(db: None, handler: list[int]) -> None:
    job = enqueue("count", {"number": 1})
    assert pipeline.claim(job.pk)
    tasks.run_job(job.pk)
    assert handler == []


def test_a_job_of_a_dead_worker_is_taken_over_when_its_lease_ends_F1(db: None, handler: list[int]) -> None:
    job = enqueue("count", {"number": 1})
    assert pipeline.claim(job.pk)  # and the worker dies here
    Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert process_until_idle() == 1
    assert handler == [1]


def test_a_worker_that_lost_its_lease_leaves_no_effects_F1(db: None, handler: list[int]) -> None:
    job = enqueue("count", {"number": 1})
    slow = pipeline.claim(job.pk)
    assert slow
    Job.objects.update(lease_token="somebody-else")
    rows_before = Job.objects.count()

    def insert_a_row(job: Job) -> object:
        return lambda: Job.objects.create(kind="trace")

    HANDLERS["count"] = insert_a_row
    pipeline.run(slow)
    assert Job.objects.count() == rows_before


def test_effects_and_end_commit_together_F1(db: None, handler: list[int]) -> None:
    def fail_after_writing(job: Job) -> object:
        def effects() -> None:
            Job.objects.create(kind="trace")
            raise RuntimeError

        return effects

    HANDLERS["count"] = fail_after_writing
    job = enqueue("count", {})
    tasks.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error) == (Job.State.QUEUED, "RuntimeError")
    assert not Job.objects.filter(kind="trace").exists()


def test_a_failing_job_is_tried_a_bounded_number_of_times(db: None, handler: list[int]) -> None:
    HANDLERS["count"] = lambda job: 1 / 0
    job = enqueue("count", {})
    assert process_until_idle() == Job.MAX_ATTEMPTS
    job.refresh_from_db()
    assert job.state == Job.State.FAILED


def test_a_final_error_is_not_tried_again(db: None, handler: list[int]) -> None:
    def refuse(job: Job) -> None:
        raise FinalError

    HANDLERS["count"] = refuse
    enqueue("count", {})
    assert process_until_idle() == 1


def test_the_scope_of_the_jobs_clinic_is_open(clinic_a: Clinic, handler: list[int]) -> None:
    seen: list[int | None] = []
    HANDLERS["count"] = lambda job: seen.append(scoped_clinic_id())
    enqueue("count", {}, clinic=clinic_a)
    process_until_idle()
    assert seen == [clinic_a.pk]


def test_a_broker_that_is_away_loses_nothing_F6(
    db: None, handler: list[int], monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: object
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(tasks.run_job, "apply_async", refuse)
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():  # type: ignore[operator]
        enqueue("count", {"number": 7})
    assert process_until_idle() == 1
    assert handler == [7]


def test_the_tick_wakes_what_is_overdue_and_shows_a_live_worker(
    db: None, handler: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[int] = []
    monkeypatch.setattr(tasks, "wake", woken.append)
    job = enqueue("count", {"number": 1})
    Job.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    assert not has_live_worker()
    tasks.tick()
    assert woken == [job.pk]
    assert has_live_worker()
    WorkerPulse.objects.update(seen_at=timezone.now() - timedelta(minutes=5))
    assert not has_live_worker()


def test_a_periodic_task_has_one_turn_per_period(db: None) -> None:
    assert tasks.claim_periodic("sweep", 60)
    assert not tasks.claim_periodic("sweep", 60)


def test_registering_names_the_handler(handler: list[int]) -> None:
    @register("named")
    def work(job: Job) -> None:
        """Do nothing."""

    assert HANDLERS.pop("named") is work


def test_a_job_that_takes_its_workers_along_is_given_up_F1(db: None, handler: list[int]) -> None:
    job = enqueue("count", {"number": 1})
    Job.objects.update(state=Job.State.RUNNING, attempts=Job.MAX_ATTEMPTS, lease_until=timezone.now())
    assert process_until_idle() == 1
    job.refresh_from_db()
    assert (job.state, job.error, handler) == (Job.State.FAILED, "WorkerLost", [])


def test_a_job_that_only_a_newer_worker_knows_waits_for_it(db: None) -> None:
    job = enqueue("of-tomorrow", {})
    claimed = pipeline.claim(job.pk)
    assert claimed
    pipeline.run(claimed)
    job.refresh_from_db()
    assert (job.state, job.error) == (Job.State.QUEUED, "UnknownKindError")


def test_ticks_do_not_flood_a_broker_that_has_enough_F6(
    db: None, handler: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[int] = []
    monkeypatch.setattr(tasks, "wake", woken.append)
    monkeypatch.setattr(tasks, "messages_waiting", lambda: tasks.SWEEP_LIMIT - 2)
    waiting = [enqueue("count", {"number": number}).pk for number in range(5)]
    lost = enqueue("count", {"number": 9})
    Job.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    Job.objects.filter(pk=lost.pk).update(state=Job.State.RUNNING, lease_until=timezone.now() - timedelta(seconds=1))
    tasks.tick()
    assert woken == [lost.pk, *waiting[:2]]


def test_jobs_done_long_ago_are_forgotten_and_failed_ones_kept(db: None) -> None:
    long_ago = timezone.now() - timedelta(days=8)
    rows = [(Job.State.DONE, long_ago), (Job.State.DONE, timezone.now()), (Job.State.FAILED, long_ago)]
    old, *kept = [enqueue("count", {}) for _ in rows]
    for job, (state, at) in zip([old, *kept], rows, strict=True):
        Job.objects.filter(pk=job.pk).update(state=state, finished_at=at)
    tasks.forget_done()
    assert list(Job.objects.order_by("pk")) == kept


def test_ten_thousand_jobs_of_one_clinic_delay_anothers_by_one_job_RATE_04(
    clinic_a: Clinic, clinic_b: Clinic, handler: list[int]
) -> None:
    """Every message says that there is work; whose turn it is, is decided when it is taken up."""
    Job.objects.bulk_create(Job(kind="count", payload={"number": 0}, clinic=clinic_a) for _ in range(200))
    mine = [enqueue("count", {"number": 1}, clinic=clinic_b) for _ in range(3)]
    first_message_of_the_flood = Job.objects.earliest("pk").pk
    for _ in range(6):
        tasks.run_job(first_message_of_the_flood)
    assert sum(handler) == len(mine)
    assert set(Job.objects.filter(clinic=clinic_b).values_list("state", flat=True)) == {Job.State.DONE}
    assert process_until_idle() == 200 - 3


def test_long_work_leaves_a_worker_free_RATE_04(
    clinic_a: Clinic, clinic_b: Clinic, handler: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "LONG_KINDS", {"archive"})
    monkeypatch.setitem(HANDLERS, "archive", HANDLERS["count"])
    for clinic in (clinic_a, clinic_b):
        enqueue("archive", {"number": 5}, clinic=clinic)
    running = pipeline.claim_next()
    assert running
    enqueue("count", {"number": 1}, clinic=clinic_a)
    assert process_until_idle() == 1
    assert handler == [1]
    pipeline.run(running)
    assert process_until_idle() == 1
    assert handler == [1, 5, 5]
