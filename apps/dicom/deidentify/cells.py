"""The cells that binary values are made of: their size, how many there may be, and their byte order."""

import struct
from functools import lru_cache

from pydicom.datadict import dictionary_VM

from apps.dicom.elements import NUMBER_FORMATS

from .codec import Element, Fragments, Item


@lru_cache(maxsize=4096)
def has_room(tag: int, vr: str, length: int) -> bool:
    """Say whether so many bytes can be values of an attribute, after the multiplicity in its dictionary."""
    cell = 4 if vr == "AT" else struct.calcsize(NUMBER_FORMATS[vr]) if vr in NUMBER_FORMATS else 0
    if not cell:
        return True
    try:
        most = dictionary_VM(tag).split("-")[-1]
    except KeyError:
        return True
    if length % cell:
        return False
    return "n" in most or not most.isdigit() or length <= cell * int(most)


def cell_bytes(vr: str) -> int:
    """Return how many bytes of a VR change places with the byte order; 1 where none do."""
    if vr in NUMBER_FORMATS:
        return struct.calcsize(NUMBER_FORMATS[vr])
    return {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8, "AT": 2}.get(vr, 1)


def swap_cells(value: bytes, size: int) -> bytes:
    """Return ``value`` with the bytes of each cell of ``size`` bytes reversed."""
    made = bytearray(value)
    whole = len(value) // size * size
    for offset in range(size):
        made[offset:whole:size] = value[size - 1 - offset : whole : size]
    return bytes(made)


def swapped(item: Item) -> Item:
    """Return a data set in the other byte order."""
    made: Item = []
    for element in item:
        value = element.value
        if isinstance(value, list):
            made.append(Element(element.tag, element.vr, [swapped(child) for child in value]))
        elif isinstance(value, Fragments) or element.vr == "UN":
            made.append(element)
        else:
            vr = element.vr.split(" or ")[0] if " or " in element.vr else element.vr
            size = cell_bytes(vr)
            made.append(element if size == 1 else Element(element.tag, element.vr, swap_cells(bytes(value), size)))
    return made
