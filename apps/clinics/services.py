"""The door of the clinics room: create a clinic, and ask what is asked all the time."""

from apps.clinics.inserting import insert_rows
from apps.clinics.models import Clinic
from apps.clinics.prepared import Asked, PreparedQuery

__all__ = ["Asked", "PreparedQuery", "create_clinic", "insert_rows"]


def create_clinic(slug: str, name: str, *, locale: str = "en", time_zone: str = "UTC") -> Clinic:
    """Return a new clinic without people, keys or plan; raises ValidationError for a bad or taken slug."""
    clinic = Clinic(slug=slug, name=name, locale=locale, time_zone=time_zone)
    clinic.full_clean()
    clinic.save()
    return clinic
