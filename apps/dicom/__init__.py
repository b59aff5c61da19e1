"""DICOM, pure: bytes in, values out. The only place that knows pydicom; it knows no Django.

pydicom quotes the values it stumbles over in its warnings and log lines. Those values are the
patient's, so both channels are closed here; what matters is raised as an error of ``errors``.
"""

import logging
import warnings

from pydicom import config

config.settings.reading_validation_mode = config.IGNORE
config.settings.writing_validation_mode = config.IGNORE
warnings.filterwarnings("ignore", module=r"(pydicom|pylibjpeg|openjpeg|rle)(\..*)?")
for _name in ("pydicom", "pylibjpeg", "openjpeg", "rle", "libjpeg"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)
