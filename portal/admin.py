"""The admin site of the people who run the installation."""

from django.contrib.admin import AdminSite
from django.utils.translation import gettext_lazy as _


class PortalAdminSite(AdminSite):
    """Django admin behind the one sign-in; holds no PHI."""

    site_header = _("Viewbox administration")
    site_title = _("Viewbox administration")
    index_title = _("This installation")
