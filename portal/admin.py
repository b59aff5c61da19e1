"""The admin site of the people who run the installation: Django's own, behind our sign-in, without PHI."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.admin import AdminSite, ModelAdmin
from django.db import connection, models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.translation import gettext_lazy as _

from apps.audit.services import trail_health
from apps.clinics.scoping import every_clinic
from apps.ingest.services import scanner_health
from apps.jobs import services as jobs
from apps.jobs.models import Periodic
from apps.storage import services as storage
from apps.studies.models import Study
from apps.studies.services import damaged_studies

# The order of the start page; what is not named comes last.
ORDER = ("clinics", "billing", "accounts", "ingest", "links", "storage", "jobs", "audit")


class PortalAdminSite(AdminSite):
    """Django admin for platform admins. What they may do is listed in apps.accounts.roles.PLATFORM_PERMISSIONS."""

    site_header = _("Viewbox administration")
    site_title = _("Viewbox administration")
    index_title = _("This installation")
    site_url = "/"
    empty_value_display = "-"

    def register(
        self,
        model_or_iterable: type[models.Model] | Iterable[type[models.Model]],
        admin_class: type[ModelAdmin[Any]] | None = None,
        **options: Any,
    ) -> None:
        """Register what our own apps declare. Libraries' pages are left out: they show seeds, names and raw logs."""
        if admin_class is not None and admin_class.__module__.startswith("apps."):
            super().register(model_or_iterable, admin_class, **options)

    def has_permission(self, request: HttpRequest) -> bool:
        """Let platform admins in who have shown their second factor; the middleware has asked the same before."""
        user: Any = request.user
        return bool(user.is_authenticated and user.is_platform_admin and user.is_verified())

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponseRedirect:
        """Send people to the one sign-in."""
        return HttpResponseRedirect(f"{reverse(settings.LOGIN_URL)}?{urlencode({'next': reverse('admin:index')})}")

    def logout(self, request: HttpRequest, extra_context: Any = None) -> HttpResponseRedirect:  # type: ignore[override]
        """Send people home: signing out is a form of ours."""
        return HttpResponseRedirect("/")

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> HttpResponseRedirect:  # type: ignore[override]
        """Send people to the page where everybody changes their own password."""
        return HttpResponseRedirect(reverse("password-change"))

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return the apps in the order in which people need them."""
        apps = super().get_app_list(request, app_label)
        places = {name: place for place, name in enumerate(ORDER)}
        return sorted(apps, key=lambda app: places.get(app["app_label"], len(ORDER)))

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Add the health page."""
        return [path("health/", self.admin_view(self.health), name="health"), *super().get_urls()]

    def health(self, request: HttpRequest) -> HttpResponse:
        """Show how storage, jobs and the trail are."""
        context = {
            **self.each_context(request),
            "title": _("Health"),
            "storage": storage.health(),
            "places": storage.places_report(),
            "forecasts": storage.places_forecast(),
            "filling": list(storage.clinics_forecast()),
            "damaged": _damaged_studies(),
            "jobs": jobs.health(),
            "periodic": Periodic.objects.order_by("name"),
            "trail": trail_health(),
            "scanner": scanner_health(),
            "database": connection.vendor,
        }
        return TemplateResponse(request, "admin/health.html", context)


def _damaged_studies() -> list[Study]:
    """Return the studies that have lost images, the first fifty: their public ids, and nobody's name."""
    with every_clinic():
        return list(damaged_studies()[:50])
