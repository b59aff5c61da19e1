"""What the viewer is told: where it lives, where its studies come from, and what stands in its head line."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

# The viewer's own word for the mode that shows a study; whole-slide images have a mode of their own.
VIEWER_MODE: Final = "viewer"
MICROSCOPY_MODE: Final = "microscopy"
# What `static/js/viewer.js` calls two studies side by side, the earlier one on the right.
COMPARISON: Final = "comparison"
MODES: Final = (VIEWER_MODE, MICROSCOPY_MODE)
WHOLE_SLIDE: Final = "SM"


@dataclass(frozen=True)
class Configuration:
    """Read by `static/js/viewer.js`.

    All URLs are paths on our own host; nothing is taken from the address bar (WEB-09).
    """

    assets_url: str
    base_path: str
    mode: str
    dicomweb_root: str
    study_instance_uid: str
    prior_study_instance_uid: str
    series_instance_uid: str
    home_url: str
    home_label: str
    quick_url: str
    quick_label: str
    compare_url: str
    compare_label: str
    title: str
    logo_url: str

    def as_json(self) -> dict[str, str]:
        """Return what goes into the page."""
        return asdict(self)


def mode_for(modalities: list[str]) -> str:
    """Return the mode in which a study with these modalities is shown at first."""
    return MICROSCOPY_MODE if WHOLE_SLIDE in modalities else VIEWER_MODE
