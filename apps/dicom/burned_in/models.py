"""The trained models, from the wheel of rapidocr-onnxruntime, run by onnxruntime on few threads.

Only the model files of that package are used, none of its code: it would import OpenCV for what numpy does here.
"""

import importlib
import importlib.util
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from apps.dicom.errors import NotAvailableError

Item = TypeVar("Item")
Result = TypeVar("Result")

DETECTION: Final = "ch_PP-OCRv4_det_infer.onnx"
RECOGNITION: Final = "ch_PP-OCRv4_rec_infer.onnx"
_PACKAGE: Final = "rapidocr_onnxruntime"
_NEEDED: Final = (_PACKAGE, "onnxruntime", "onnx", "onnxscript")
_MAX_THREADS: Final = 2

_lock = threading.Lock()
_threads = min(_MAX_THREADS, os.cpu_count() or 1)


def limit_threads(count: int) -> None:
    """Use so many threads: for models that are not loaded yet, and for work at once. For a process of several."""
    global _threads
    _threads = max(1, count)


def planes_of(
    picture: npt.NDArray[np.uint8], columns: int, rows: int, resample: Image.Resampling
) -> npt.NDArray[np.float32]:
    """Return a picture in another size as the models take it: three planes (3, rows, columns), from -1 to 1."""
    sized = np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((columns, rows), resample), np.float32)
    sized = sized * (2 / 255) - 1
    return np.broadcast_to(sized, (3, rows, columns)) if sized.ndim == 2 else sized.transpose(2, 0, 1)


def at_once(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return what the work makes of each item, in their order, by as many threads as a model may use."""
    return list(map(work, items) if _threads == 1 else _pool(_threads).map(work, items))


@cache
def _pool(count: int) -> ThreadPoolExecutor:
    """Return so many threads, all of them started: a confined child can start none later."""
    pool = ThreadPoolExecutor(count)
    all_there = threading.Barrier(count)
    list(pool.map(lambda _: all_there.wait(), range(count)))
    return pool


# Threads do not go along into a forked process: it starts its own.
os.register_at_fork(after_in_child=_pool.cache_clear)


def is_installed() -> bool:
    """Say whether the models and what runs them are there, without loading anything."""
    return all(importlib.util.find_spec(name) is not None for name in _NEEDED)


def session(name: str) -> Any:
    """Return the loaded model with this file name; the first time takes a second.

    Raises ``NotAvailableError`` where the package is not installed.
    """
    with _lock:
        return _loaded(name)


def file_of(name: str) -> Path:
    """Return where a model is; raises ``NotAvailableError`` where the package is not installed."""
    if not is_installed():
        raise NotAvailableError
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise NotAvailableError
    return Path(next(iter(found.submodule_search_locations))) / "models" / name


@cache
def _loaded(name: str) -> Any:
    path = file_of(name)
    # Imported here and nowhere else: they are heavy, and most processes never look at a pixel.
    runtime = importlib.import_module("onnxruntime")
    fused = importlib.import_module(".fused", __package__).fused
    options = runtime.SessionOptions()
    # A line is too small to be shared out: several are read at once instead.
    options.intra_op_num_threads = 1 if name == RECOGNITION else _threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Idle threads sleep: others need the processor.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return runtime.InferenceSession(fused(path), options, providers=["CPUExecutionProvider"])
