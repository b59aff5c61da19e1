"""The recycle bin: what somebody deletes is gone from every page at once, and comes back with one click for 30 days.

A deleted study is an edition of its own (`apps.clinics.models.InEdition`): in the clinic's scope it does not exist, for
no page, link, query or export, and nothing of it is changed. After 30 days it is destroyed for good, key and all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.access.services import Principal
from apps.audit.services import Context, record
from apps.clinics.scoping import clinic_scope, every_clinic
from apps.storage.errors import StorageError
from apps.storage.models import Blob, Erasure
from apps.storage.services import say_anew
from apps.studies.erasing import erase_studies
from apps.studies.errors import RestoreRefusedError
from apps.studies.models import DeletedStudy, Instance, Series, Study

log = logging.getLogger(__name__)

KEPT: Final = timedelta(days=30)

Act = Callable[[Study], None]
_unlinks: list[Act] = []
_relinks: list[Act] = []


def refers_to_studies(unlink: Act, relink: Act) -> None:
    """Register what else points to a study: told before it goes and after it is back, in that transaction."""
    _unlinks.append(unlink)
    _relinks.append(relink)


def delete_study(principal: Principal, study: Study) -> DeletedStudy:
    """Put a study into the recycle bin, with its series, instances and documents. Needs the clinic's scope."""
    with transaction.atomic():
        row = Study.objects.select_for_update().get(pk=study.pk)
        deleted = DeletedStudy(
            clinic=row.clinic,
            study=row,
            study_reference=row.public_id,
            instance_count=row.number_of_study_related_instances,
            deleted_by=principal.user,
            expires_at=timezone.now() + KEPT,
        )
        deleted.save()
        for unlink in _unlinks:
            unlink(row)
        _move(row, deleted.public_id)
        _record(principal, "study.deleted", row, deleted)
    return deleted


def restore_study(principal: Principal, deleted: DeletedStudy) -> Study:
    """Take a study out of the recycle bin again; raises RestoreRefusedError. Needs the clinic's scope."""
    with transaction.atomic():
        present = DeletedStudy.objects.select_for_update(of=("self",)).get(pk=deleted.pk)
        with every_clinic():
            study = Study.objects.select_related("patient").filter(public_id=present.study_reference).first()
        if study is None or present.erased_at or present.restored_at:
            raise RestoreRefusedError(_("This study is not in the recycle bin any more."))
        if _is_here_again(study):
            raise RestoreRefusedError(
                _("Images of this study have been uploaded again meanwhile. Delete those first, then restore this.")
            )
        _move(study, "")
        for relink in _relinks:
            relink(study)
        present.restored_at = timezone.now()
        present.save(update_fields=["restored_at"])
        study.edition = ""
        _record(principal, "study.restored", study, present)
    return study


def erase_expired(now: datetime | None = None) -> int:
    """Destroy for good what has waited for 30 days; return how many studies."""
    with every_clinic():
        due = list(bin_of().filter(expires_at__lte=now or timezone.now()))
    count = 0
    for deleted in due:
        with clinic_scope(deleted.clinic):
            principal = Principal("system", deleted.clinic, frozenset(), Context.system("recycle-bin"))
            try:
                if deleted.study is not None:
                    kind = Erasure.Kind.STUDY
                    erase_studies(principal, [deleted.study], kind=kind, reference=deleted.study_reference)
            except StorageError as error:
                log.warning("a deleted study waits to be destroyed", extra={"code": error.code})
                continue
            DeletedStudy.objects.filter(pk=deleted.pk).update(erased_at=timezone.now())
            count += 1
    return count


def bin_of() -> QuerySet[DeletedStudy]:
    """Return what lies in the recycle bin, the latest first, with studies and patients."""
    rows = DeletedStudy.objects.filter(restored_at=None, erased_at=None, study__isnull=False)
    return rows.select_related("study__patient", "deleted_by", "clinic").order_by("-deleted_at", "-pk")


def _is_here_again(study: Study) -> bool:
    """Whether the clinic has this study, or one of its instances, in use. Scopes are those of the caller."""
    with every_clinic():
        uids = list(Instance.objects.filter(series__study=study).values_list("sop_instance_uid", flat=True))
    if Study.objects.filter(study_instance_uid=study.study_instance_uid).exists():
        return True
    return any(
        Instance.objects.filter(sop_instance_uid__in=uids[at : at + 500]).exists() for at in range(0, len(uids), 500)
    )


def _move(study: Study, edition: str) -> None:
    """Let the study and all below it belong to this edition from now on."""
    with every_clinic():
        Study.objects.filter(pk=study.pk).update(edition=edition)
        Series.objects.filter(study=study.pk).update(edition=edition)
        instances = Instance.objects.filter(series__study=study.pk)
        instances.update(edition=edition)
        say_anew(Blob.objects.filter(pk__in=instances.values("blob")))


def _record(principal: Principal, verb: str, study: Study, deleted: DeletedStudy) -> None:
    with every_clinic():
        reference = study.audit_reference()
    record(
        verb,
        context=principal.context,
        clinic_id=deleted.clinic_id,
        object_kind="study",
        object_reference=study.public_id,
        patient_reference=reference.patient_reference,
        study_reference=study.public_id,
        details={"instance_count": deleted.instance_count},
    )
