"""What waits for a person to look at, of studies that are destroyed."""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import Q

from apps.deidentification.models import Review
from apps.storage.models import Blob
from apps.studies.services import Doomed, goes_along


@goes_along
def forget_reviews(doomed: Doomed) -> Callable[[], None]:
    """Take along what lies in quarantine for a review, and the reviews."""
    reviews = Review.objects.filter(clinic=doomed.clinic).filter(
        Q(instance__series__study__in=doomed.studies) | Q(blob__public_id__in=doomed.blobs)
    )
    doomed.add(Blob.objects.filter(pk__in=reviews.values("blob")))
    ids = list(reviews.values_list("pk", flat=True))

    def clear() -> None:
        Review.objects.filter(pk__in=ids).delete()

    return clear
