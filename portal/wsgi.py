"""The WSGI entry point; an unsafe configuration does not start."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
application = get_wsgi_application()

from apps.dicom import limited  # noqa: E402
from portal.checks import refuse_unsafe_configuration  # noqa: E402  (the apps must be loaded first)

refuse_unsafe_configuration()
# The first child that reads files takes a second to load what it may not load later: ahead of the first file.
limited.warm_up()
