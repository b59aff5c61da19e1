"""The sentences that the quick viewer's scripts say, in the reader's language; the scripts fill in `%(name)s`."""

from __future__ import annotations

from django.utils.translation import gettext as _


def words() -> dict[str, str]:
    """Return the sentences by the names that `static/viewer` knows them by."""
    return {
        "loading": _("Loading…"),
        "picture_of": _("Picture of the series %(series)s"),
        "image_of": _("Picture %(number)s of %(total)s"),
        "born": _("born %(date)s"),
        "window_is": _("C %(centre)s W %(width)s"),
        "zoom_is": _("Zoom %(percent)s %%").replace("%%", "%"),
        "lossy": _("Lossy compressed"),
        "per_second": _("%(number)s a second"),
        "window_file": _("As stored"),
        "window_full": _("All grey levels"),
        "window_brain": _("Brain"),
        "window_subdural": _("Subdural"),
        "window_bone": _("Bone"),
        "window_lung": _("Lung"),
        "window_mediastinum": _("Mediastinum"),
        "window_abdomen": _("Abdomen"),
        "window_liver": _("Liver"),
        "window_vessels": _("Vessels"),
        "open_document": _("Open the document in a window of its own"),
        "nothing_to_show": _("There is no picture in this series. The full viewer may lay it over others."),
        "video_unknown": _("This browser cannot play the video. Download the study to see it."),
        "fault_offline": _("No connection. It is tried again when you move on."),
        "fault_ended": _("This cannot be seen any more. Perhaps the link was taken back, or your session ended."),
        "fault_gone": _("This picture is not there any more."),
        "fault_busy": _("The server is busy. Try again in a moment."),
        "fault_server": _("The server could not give out this picture."),
        "fault_decode": _("This picture is damaged, or stored in a way that this viewer cannot read."),
    }
