"""Create and find clinics."""

from apps.clinics.models import Clinic


def create_clinic(slug: str, name: str, *, locale: str = "en", time_zone: str = "UTC") -> Clinic:
    """Return a new clinic without people, keys or plan; raises ValidationError for a bad or taken slug."""
    clinic = Clinic(slug=slug, name=name, locale=locale, time_zone=time_zone)
    clinic.full_clean()
    clinic.save()
    return clinic
