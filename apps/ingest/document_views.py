"""The page on which a document becomes a DICOM object."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from apps.access.services import authorise, principal_of
from apps.accounts.roles import Capability
from apps.ingest.conversion import TITLE_LENGTH, ConversionError, make_instance, may_begin_study
from apps.studies.models import IN_USE, Document, Study
from apps.studies.services import visible

NEW_STUDY = "new"


class ObjectForm(forms.Form):
    """What the object is called and which study it joins."""

    title = forms.CharField(label=gettext_lazy("Title"), max_length=TITLE_LENGTH, strip=True)
    study = forms.ChoiceField(label=gettext_lazy("Study"))

    def __init__(self, *args: Any, choices: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["study"].choices = choices  # type: ignore[attr-defined]
        self.fields["title"].widget.attrs["class"] = "form-control"
        self.fields["study"].widget.attrs["class"] = "form-select"


@require_http_methods(["GET", "POST"])
def document_object(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Ask for title and study; make the object, and go to its study."""
    rows = Document.objects.select_related("study__patient", "patient__merged_into", "blob", "instance__series__study")
    document = get_object_or_404(rows.filter(IN_USE), public_id=public_id)
    principal = principal_of(request)
    if Capability.STUDY_VIEW not in principal.capabilities:
        raise Http404
    authorise(request, Capability.UPLOAD_CREATE, document, verb="document.viewed")
    if document.instance is not None:
        return redirect("study", clinic_slug, document.instance.series.study.public_id)
    studies = list(Study.objects.filter(visible(principal), patient=document.owner).order_by("-listed_at")[:200])
    form = ObjectForm(
        request.POST or None,
        choices=_choices(document, studies),
        initial={"title": document.title[:TITLE_LENGTH], "study": document.study.public_id if document.study else ""},
    )
    error = ""
    if request.method == "POST" and form.is_valid():
        chosen = {study.public_id: study for study in studies}.get(form.cleaned_data["study"])
        try:
            made = make_instance(principal, document, study=chosen, title=form.cleaned_data["title"])
        except ConversionError as refusal:
            error = str(refusal.message)
        else:
            messages.success(request, _("The DICOM object is there, in this study."))
            return redirect("study", clinic_slug, made.series.study.public_id)
    context = {"form": form, "document": document, "patient": document.owner, "error": error}
    return render(request, "ingest/document_object.html", context, status=422 if error or form.errors else 200)


def _choices(document: Document, studies: list[Study]) -> list[tuple[str, str]]:
    choices = [(study.public_id, _label(study)) for study in studies]
    if may_begin_study(document.owner):
        choices.append((NEW_STUDY, _("A new study")))
    return choices


def _label(study: Study) -> str:
    date = study.study_date.isoformat() if study.study_date else _("no date")
    return " · ".join(part for part in (date, " ".join(study.modalities), study.study_description) if part)
