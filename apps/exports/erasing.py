"""Archives that were prepared of studies that are destroyed."""

from __future__ import annotations

from collections.abc import Callable

from apps.exports.models import Checksum, Export
from apps.storage.models import Blob
from apps.studies.services import Doomed, goes_along


@goes_along
def forget_exports(doomed: Doomed) -> Callable[[], None]:
    """Take every archive along that has one of the studies in it."""
    exports = Export.objects.filter(clinic=doomed.clinic, studies__in=doomed.studies)
    doomed.add(Blob.objects.filter(pk__in=exports.values("blob")))
    ids = list(exports.values_list("pk", flat=True).distinct())

    def clear() -> None:
        Export.objects.filter(pk__in=ids).update(state=Export.State.EXPIRED, blob=None)
        Checksum.objects.filter(clinic=doomed.clinic, blob__public_id__in=doomed.blobs).delete()

    return clear
