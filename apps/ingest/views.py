"""The upload page, what it talks to, and the pages that tell what became of an upload."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.core.paginator import Paginator
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from apps.access.services import Principal, authorise, authorise_covered, principal_of
from apps.accounts.roles import Capability
from apps.ingest import queries, services, uploadhandler
from apps.ingest.csrf import csrf_by_header
from apps.ingest.errors import IngestError, NoFilesError
from apps.ingest.models import Upload, UploadBatch
from apps.ingest.naming import display_name
from apps.ingest.outcomes import describe
from apps.storage.errors import StorageError
from apps.storage.models import Blob
from apps.studies.models import Study

ROWS_ON_A_PAGE: Final = 200
BATCHES_ON_A_PAGE: Final = 25
ROWS_ON_A_STUDY: Final = 20
STUDY_BUTTONS: Final = 5

_KEY = re.compile(r"[A-Za-z0-9_-]{1,40}")


@require_GET
def upload(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """Show the page that takes files; `?study=` adds documents to that study."""
    study = _study(request, request.GET.get("study", ""))
    context = {
        "study": study,
        "study_url": _study_url(clinic_slug, study.public_id) if study else "",
        "max_file_bytes": settings.MAX_FILE_BYTES,
        "words": _words(),
    }
    return render(request, "ingest/upload.html", context)


@require_POST
def begin(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """Open a batch; answers where to send files and where to ask what became of them."""
    principal = principal_of(request)
    study = _study(request, request.POST.get("study", ""))
    batch = services.open_batch(principal, UploadBatch.Source.WEB, study=study)
    names = {"files_url": "upload-files", "close_url": "upload-close", "results_url": "upload-results"}
    urls = {key: reverse(name, args=[clinic_slug, batch.public_id]) for key, name in names.items()}
    page_url = reverse("upload-batch", args=[clinic_slug, batch.public_id])
    return JsonResponse({"batch": batch.public_id, "page_url": page_url, **urls}, status=HTTPStatus.CREATED)


@csrf_by_header
@require_POST
def receive_files(request: HttpRequest, clinic_slug: str, batch_id: str) -> HttpResponse:
    """Take the files of one multipart request; the name of each field is the sender's key for its file."""
    principal = principal_of(request)
    batch = get_object_or_404(queries.own_batches(principal), public_id=batch_id)
    try:
        services.check_open(principal, batch)
        uploadhandler.accept_files(request, principal.clinic)
        return JsonResponse({"files": _take_files(request, principal, batch)})
    except IngestError as error:
        return JsonResponse({"code": error.code, "message": str(error)}, status=error.status)
    except StorageError as error:
        # Without a code of its own the page takes it for a passing fault and sends the files again.
        return JsonResponse({"message": str(error)}, status=HTTPStatus.SERVICE_UNAVAILABLE)
    except IntegrityError:
        # The same files twice at the same moment: whoever asks again finds the rows of the first.
        return JsonResponse({"message": ""}, status=HTTPStatus.SERVICE_UNAVAILABLE)
    finally:
        uploadhandler.discard(request)


def _take_files(request: HttpRequest, principal: Principal, batch: UploadBatch) -> list[dict[str, Any]]:
    files = uploadhandler.files_of(request)
    if not files:
        raise NoFilesError
    names = _names(request.POST.get("names", ""))
    known = services.known_keys(batch, [file.field_name for file in files])
    rows: list[dict[str, Any]] = []
    fresh: dict[str, tuple[str, Blob, str | None]] = {}
    for file in files:
        key = file.field_name
        if key in known:
            rows.append(_row(request, known[key]))
        elif file.error is not None:
            rows.append({"key": key, "state": "failed", "text": str(file.error), "is_finished": True})
        elif _KEY.fullmatch(key) and key not in fresh and (blob := file.release()) is not None:
            fresh[key] = (names.get(key, ""), blob, key)
    if fresh:
        uploads = services.receive_blobs(principal, batch, list(fresh.values()))
        rows.extend(_row(request, upload) for upload in uploads)
    return rows


def _names(text: str) -> dict[str, str]:
    try:
        names = json.loads(text or "{}")
    except ValueError:
        return {}
    return {str(key): str(name) for key, name in names.items()} if isinstance(names, dict) else {}


@require_POST
def close(request: HttpRequest, clinic_slug: str, batch_id: str) -> HttpResponse:
    """Note that everything was sent."""
    batch = get_object_or_404(queries.own_batches(principal_of(request)), public_id=batch_id)
    services.close_batch(batch)
    return JsonResponse({})


@require_GET
def results(request: HttpRequest, clinic_slug: str, batch_id: str) -> HttpResponse:
    """Say what became of the files since the last question, to the page that sent them."""
    principal = principal_of(request)
    batch = get_object_or_404(queries.own_batches(principal), public_id=batch_id)
    uploads, cursor, is_done = queries.results_after(batch, request.GET.get("after", "")[:22])
    if any(upload.archive_id is not None for upload in uploads):
        # Names from inside an archive may name people, and the page has not seen them yet.
        authorise_covered(request, Capability.UPLOAD_CREATE, batch, verb="upload.viewed")
    rows = [_row(request, upload) for upload in uploads]
    return JsonResponse({"after": cursor, "is_done": is_done, "uploads": rows})


def _row(request: HttpRequest, upload: Upload) -> dict[str, Any]:
    """Return one upload as the page's script takes it; every value is set as text there."""
    principal = principal_of(request)
    url = ""
    if upload.study is not None and Capability.STUDY_VIEW in principal.capabilities and principal.may_see(upload.study):
        url = _study_url(principal.clinic.slug, upload.study.public_id)
    row: dict[str, Any] = {
        "id": upload.public_id,
        "key": upload.client_key or "",
        "state": upload.state,
        "text": describe(upload.state, upload.code, upload.message),
        "is_finished": upload.state != Upload.State.RECEIVED,
        "study_url": url,
    }
    if upload.archive is not None:
        # The script knows the names of what it sent itself; those inside an archive it cannot know.
        row |= {"archive": upload.archive.public_id, "name": display_name(upload.name)}
    return row


@require_GET
def batches(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """List one's own uploads, newest first."""
    principal = principal_of(request)
    authorise(request, Capability.UPLOAD_VIEW, verb="upload.listed")
    pages = Paginator(queries.recent_batches(queries.own_batches(principal)), BATCHES_ON_A_PAGE)
    return render(request, "ingest/batches.html", {"page": pages.get_page(request.GET.get("page"))})


@require_GET
def batch(request: HttpRequest, clinic_slug: str, batch_id: str) -> HttpResponse:
    """Show one upload: how far it is, and what became of each file."""
    found = _batch(request, batch_id)
    # The batch is nobody's patient: who may see it is decided above, the record names it among its details.
    authorise(request, Capability.UPLOAD_VIEW, verb="upload.viewed", details={"upload_reference": found.public_id})
    group = request.GET.get("show", "")
    pages = Paginator(queries.uploads_of(found, group), ROWS_ON_A_PAGE)
    page = pages.get_page(request.GET.get("page"))
    principal = principal_of(request)
    rows = [_listed(principal, upload) for upload in page.object_list]
    progress = queries.progress(found)
    context = {
        "batch": found,
        "progress": progress,
        "rows": rows,
        "page": page,
        "show": group if group in queries.GROUPS else "",
        "groups": [{"name": name, "title": title, "count": progress.count(name)} for name, title in _groups()],
        "study_urls": list(dict.fromkeys(row["study_url"] for row in rows if row["study_url"]))[:STUDY_BUTTONS],
    }
    return render(request, "ingest/batch.html", context)


@require_GET
def batch_progress(request: HttpRequest, clinic_slug: str, batch_id: str) -> HttpResponse:
    """Say how far one upload is, in numbers alone; asked again every two seconds until it is done."""
    found = _batch(request, batch_id)
    progress = queries.progress(found)
    context = {"batch": found, "progress": progress}
    response = render(request, "ingest/_progress.html", context)
    if progress.is_done:
        # The list below the numbers is as old as the page: load it once more, complete.
        response["HX-Refresh"] = "true"
    return response


@require_GET
def study_uploads(request: HttpRequest, clinic_slug: str, study_id: str) -> HttpResponse:
    """Show the part of the study page that says which uploads brought it."""
    study = _study(request, study_id)
    if study is None:
        raise Http404
    authorise(request, Capability.STUDY_VIEW, study, verb="upload.viewed")
    principal = principal_of(request)
    found = queries.batches_of_study(study)[:ROWS_ON_A_STUDY]
    visible = set(queries.visible_batches(principal).filter(pk__in=[b.pk for b in found]).values_list("pk", flat=True))
    context = {"batches": [(item, item.pk in visible) for item in found], "study": study}
    return render(request, "ingest/_study_uploads.html", context)


def _batch(request: HttpRequest, batch_id: str) -> UploadBatch:
    visible = queries.visible_batches(principal_of(request)).select_related("created_by")
    return get_object_or_404(visible, public_id=batch_id)


def _study(request: HttpRequest, public_id: str) -> Study | None:
    """Return the study of this public id, None without one; Http404 when it is not there for whoever asks."""
    if not public_id:
        return None
    study = get_object_or_404(Study.objects.select_related("patient"), public_id=public_id)
    if not principal_of(request).may_see(study):
        raise Http404
    return study


def _study_url(clinic_slug: str, public_id: str) -> str:
    try:
        return reverse("study", args=[clinic_slug, public_id])
    except NoReverseMatch:
        return ""


def _listed(principal: Principal, upload: Upload) -> dict[str, Any]:
    may_open = (
        upload.study is not None and Capability.STUDY_VIEW in principal.capabilities and principal.may_see(upload.study)
    )
    return {
        "archive": upload.archive.name if upload.archive else "",
        "name": upload.name,
        "state": upload.state,
        "text": describe(upload.state, upload.code, upload.message),
        "size_bytes": upload.size_bytes,
        "study_url": _study_url(principal.clinic.slug, upload.study.public_id) if may_open and upload.study else "",
    }


def _groups() -> list[tuple[str, str]]:
    return [
        ("stored", _("Stored")),
        ("duplicate", _("Already there")),
        ("problem", _("Problems")),
        ("ignored", _("Passed over")),
        ("open", _("Under way")),
    ]


def _words() -> dict[str, str]:
    """Return everything that the upload page's script says; {names} are filled in there."""
    return {
        "waiting": _("Waiting"),
        "sending": _("Being sent"),
        # xgettext:no-python-format (a percent sign, then a word)
        "sendingPart": _("{percent} % sent"),
        "securing": _("Sent, being put safely away"),
        "reading": _("Looking through the folders …"),
        "found": _("Files found so far: {count}"),
        "unreadable": _("Not sent: this computer could not read the file."),
        "tooLarge": _("Not sent: larger than {limit}, the most that is taken."),
        "notSent": _("Not sent"),
        "stopped": _("Stopped"),
        "lineLost": _("The connection is lost. Trying again by itself; nothing that has arrived is sent twice."),
        "noLine": _("Not sent: the connection is lost."),
        "signedOut": _(
            "You have been signed out. What has arrived is safe. Sign in again in another tab, then send the missing "
            "files again from here."
        ),
        "serverError": _("Not sent: the server reported an error. Please try again later."),
        "sentLine": _("{done} of {total} files sent · {bytes} of {totalBytes}"),
        "secondsLeft": _("about {count} s left"),
        "minutesLeft": _("about {count} min left"),
        "doneLine": _("{done} of {total} checked"),
        "allDone": _("Done:"),
        "nothingDone": _("Nothing was sent."),
        "storedCount": _("{count} stored"),
        "duplicateCount": _("{count} already there"),
        "problemCount": _("{count} with problems"),
        "ignoredCount": _("{count} passed over"),
        "openStudy": _("Open study"),
        "openStudyNumber": _("Open study {number}"),
    }
