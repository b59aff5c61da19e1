"""Saving what is on the screen: a frame as a picture, a series as a film."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_safe

from apps.exports.errors import NoFilmError
from apps.exports.sending import send_film, send_picture
from apps.studies.models import Series


@require_safe
def series_picture(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Send one frame of a series as JPEG or PNG: `instance`, `frame`, `window=centre,width`, `format`."""
    return send_picture(request, _series(public_id))


@require_safe
def series_film(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponseBase:
    """Send a series, or one `instance` of it, as a film: `window=centre,width`, `rate` in pictures a second."""
    series = _series(public_id)
    try:
        return send_film(request, series)
    except NoFilmError as error:
        messages.error(request, str(error))
        return redirect("study", clinic_slug, series.study.public_id)


def _series(public_id: str) -> Series:
    return get_object_or_404(Series.objects.select_related("study__patient", "clinic"), public_id=public_id)
