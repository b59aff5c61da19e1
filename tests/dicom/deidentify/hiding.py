"""The places that are no plain attribute, and whole instances with something in many of them."""

from __future__ import annotations

import base64
import io
import random
import struct
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageCms
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID

from apps.dicom.deidentify.profile import table, vr_of

from . import planted
from .planted import Planted, Planter, part10, plain, raw_element

_TEXT_VRS = ("LO", "SH", "LT", "ST", "UT", "UC")
# Attributes that the table does not name, of every VR that can hold a text.
_UNLISTED = (
    (0x00081090, "LO"), (0x00181020, "LO"), (0x00180024, "SH"), (0x00181250, "SH"), (0x00181160, "SH"),
    (0x00189005, "SH"), (0x0040A160, "UT"), (0x00102180, "SH"), (0x00200062, "CS"), (0x00180022, "CS"),
    (0x00081090, "LO"), (0x00281055, "LO"), (0x00204000, "LT"), (0x00102210, "CS"), (0x00080104, "LO"),
    (0x0008010B, "CS"), (0x00400260, "SQ"), (0x00081032, "SQ"), (0x00321064, "SQ"), (0x00081196, "US"),
    (0x00280302, "CS"), (0x00100033, "LO"), (0x00100034, "LO"), (0x00420010, "ST"), (0x00700080, "CS"),
    (0x00700081, "LO"), (0x0040030E, "SQ"), (0x00181061, "LO"), (0x00181400, "LO"), (0x0008040C, "SQ"),
    (0x00281090, "CS"), (0x0018115E, "DS"), (0x00181151, "IS"), (0x00080119, "UC"), (0x0040A13A, "DT"),
)  # fmt: skip


def ascii_name(planter: Planter) -> str:
    """The family name if it is ASCII, else the physician's."""
    family = plain(planter.person.family)
    return family if family.isascii() and family.isalpha() else planter.person.physician[0]


def private_block(planter: Planter, made: Dataset) -> None:
    block = made.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", f"junk\0{ascii_name(planter)}\0{planter.person.mrn}".encode())
    block.add_new(0x20, "LO", planter.encodable(planter.needle("private LO")))
    block.add_new(0x30, "PN", planter.encodable(planter.person.person_name()))
    inner = Dataset()
    inner.add(DataElement(0x00100010, "PN", planter.encodable(planter.person.person_name())))
    block.add_new(0x40, "SQ", Sequence([inner]))
    other = made.private_block(0x0009, f"{ascii_name(planter)} PRIVATE", create=True)
    other.add_new(0x01, "UN", planter.person.mrn.encode() + b" ")
    planter.needles[ascii_name(planter)] = "private"
    planter.places.append("private")


def unknown_vr(planter: Planter, made: Dataset) -> None:
    name = planter.encodable(planter.person.person_name())
    made.add(DataElement(0x00102299, "UN", plain(name).encode("ascii", "ignore") or b"x"))
    made.add(DataElement(0x00324000, "UN", f"Patient {ascii_name(planter)} seen".encode()))
    inner = raw_element(0x00100020, b"LO", planter.person.mrn.encode())
    implicit = struct.pack("<HHI", 0x0010, 0x0020, len(inner) - 8) + inner[8:]
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(implicit)) + implicit
    made.add(DataElement(0x00400260, "UN", item))
    made.add(DataElement(0x00091234, "UN", f"{ascii_name(planter)}^{planter.person.mrn}".encode()))
    made.add(DataElement(0x00084000, "UN", base64.b64encode(planter.person.person_name().encode())))
    planter.needles[base64.b64encode(planter.person.person_name().encode()).decode()] = "UN base64"
    planter.places.append("UN")


def overlay(planter: Planter, made: Dataset) -> None:
    for group in (0x6000, 0x601E):
        made.add(DataElement(group << 16 | 0x0010, "US", 16))
        made.add(DataElement(group << 16 | 0x0011, "US", 16))
        made.add(DataElement(group << 16 | 0x0022, "LO", planter.encodable(planter.needle("overlay description"))))
        made.add(DataElement(group << 16 | 0x0040, "CS", "G"))
        made.add(DataElement(group << 16 | 0x1500, "LO", planter.encodable(planter.needle("overlay label"))))
        made.add(
            DataElement(group << 16 | 0x3000, "OW", f"{ascii_name(planter)}{planter.person.mrn}".encode().ljust(32))
        )
        made.add(DataElement(group << 16 | 0x4000, "LT", planter.encodable(planter.needle("overlay comments"))))


def curve(planter: Planter, made: Dataset) -> None:
    made.add(DataElement(0x50000005, "US", 2))
    made.add(DataElement(0x50000022, "LO", planter.encodable(planter.needle("curve description"))))
    made.add(DataElement(0x50003000, "OW", f"{ascii_name(planter)} {planter.person.mrn}".encode().ljust(40)))
    made.add(DataElement(0x50002600, "LT", planter.encodable(planter.needle("curve label"))))


def graphics(planter: Planter, made: Dataset) -> None:
    text = Dataset()
    text.UnformattedTextValue = planter.sentence("graphic text")
    annotation = Dataset()
    annotation.GraphicLayer = "LAYER1"
    annotation.TextObjectSequence = Sequence([text])
    made.GraphicAnnotationSequence = Sequence([annotation])
    layer = Dataset()
    layer.GraphicLayer = "LAYER1"
    layer.GraphicLayerOrder = 1
    layer.GraphicLayerDescription = planter.sentence("layer description")[:60]
    made.GraphicLayerSequence = Sequence([layer])
    made.ContentLabel = "MARKS"
    made.ContentDescription = planter.encodable(planter.needle("content description"))
    made.ContentCreatorName = "^".join(planter.person.physician)


def icon(planter: Planter, made: Dataset) -> None:
    small = Dataset()
    small.Rows = small.Columns = 8
    small.SamplesPerPixel, small.PhotometricInterpretation = 1, "MONOCHROME2"
    small.BitsAllocated = small.BitsStored = 8
    small.HighBit, small.PixelRepresentation = 7, 0
    small.PixelData = f"{ascii_name(planter)} {planter.person.mrn}".encode().ljust(64)[:64]
    small["PixelData"].VR = "OB"
    made.IconImageSequence = Sequence([small])
    planter.places.append("icon")


def structured_report(planter: Planter, made: Dataset) -> None:
    def concept(value: str, meaning: str) -> Sequence:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        return Sequence([code])

    def text(value: str, code: str = "121071", meaning: str = "Finding") -> Dataset:
        item = Dataset()
        item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
        item.ConceptNameCodeSequence = concept(code, meaning)
        item.TextValue = value
        return item

    observer = Dataset()
    observer.RelationshipType, observer.ValueType = "HAS OBS CONTEXT", "PNAME"
    observer.ConceptNameCodeSequence = concept("121008", "Person Observer Name")
    observer.PersonName = "^".join(planter.person.physician)
    moment = Dataset()
    moment.RelationshipType, moment.ValueType = "CONTAINS", "DATETIME"
    moment.ConceptNameCodeSequence = concept("121135", "Observation DateTime")
    moment.DateTime = f"{planter.person.birth}1015"
    container = Dataset()
    container.RelationshipType, container.ValueType = "CONTAINS", "CONTAINER"
    container.ConceptNameCodeSequence = concept("121070", "Findings")
    container.ContentSequence = Sequence(
        [text(planter.sentence("SR text")), text(planter.encodable(planter.needle("SR")), "121022", "Accession Number")]
    )
    made.ContentSequence = Sequence([observer, moment, container, text(planter.sentence("SR root text"))])
    verifier = Dataset()
    verifier.VerifyingObserverName = "^".join(planter.person.operator)
    verifier.VerifyingOrganization = f"Klinik {planter.person.place}"
    verifier.VerificationDateTime = f"{planter.person.birth}0900"
    made.VerifyingObserverSequence = Sequence([verifier])


def codes(planter: Planter, made: Dataset) -> None:
    code = Dataset()
    code.CodeValue = planter.person.mrn
    code.CodingSchemeDesignator = f"99{ascii_name(planter).upper()}"[:16]
    code.CodeMeaning = planter.encodable(planter.needle("code meaning"))[:60]
    code.CodingSchemeVersion = planter.person.birth
    made.ProcedureCodeSequence = Sequence([code])
    scheme = Dataset()
    scheme.CodingSchemeDesignator = "99LOCAL"
    scheme.CodingSchemeName = planter.encodable(planter.needle("scheme name"))
    scheme.CodingSchemeResponsibleOrganization = f"Klinik {planter.person.place}"
    made.CodingSchemeIdentificationSequence = Sequence([scheme])
    planter.places.append("codes")


def icc(planter: Planter, made: Dataset) -> None:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    name = f"{ascii_name(planter)} {planter.person.mrn}".encode()
    at = profile.find("sRGB".encode("utf-16-be"))
    wide = "".join(chr(part) for part in name[:4]).encode("utf-16-be")
    if at > 0:
        profile[at : at + len(wide)] = wide
    (count,) = struct.unpack_from(">I", profile, 128)
    for number in range(count):
        sig, offset, length = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        if sig in (b"cprt", b"desc"):
            profile[offset : offset + length] = (b"text\0\0\0\0" + name).ljust(length, b"\0")[:length]
            break
    made.add(DataElement(0x00282000, "OB", bytes(profile) + name + b"\0" * (len(name) % 2)))
    planter.places.append("ICC")


def waveform(planter: Planter, made: Dataset) -> None:
    channel = Dataset()
    channel.ChannelLabel = planter.encodable(planter.needle("channel label"))[:16]
    group = Dataset()
    group.MultiplexGroupLabel = planter.encodable(planter.needle("multiplex label"))[:16]
    group.ChannelDefinitionSequence = Sequence([channel])
    group.add(
        DataElement(
            0x54001010, "OW", f"\1\2\3\4{ascii_name(planter)}{planter.person.mrn}\5\6".encode().ljust(60, b"\0")
        )
    )
    made.WaveformSequence = Sequence([group])
    planter.places.append("waveform")


def lookup(planter: Planter, made: Dataset) -> None:
    item = Dataset()
    item.add(DataElement(0x00283002, "US", [8, 0, 16]))
    item.LUTExplanation = planter.encodable(planter.needle("LUT explanation"))[:60]
    item.add(DataElement(0x00283006, "OW", f"{ascii_name(planter)}".encode().ljust(16)[:16]))
    made.VOILUTSequence = Sequence([item])
    planter.places.append("LUT")


HIDING: tuple[Callable[[Planter, Dataset], None], ...] = (
    private_block, unknown_vr, overlay, curve, graphics, icon, structured_report, codes, icc, waveform, lookup,
)  # fmt: skip


def attributes(planter: Planter, made: Dataset, rows: list[tuple[int, str, bool]]) -> None:
    """Plant into attributes, each at a depth of its own."""
    for tag, vr, is_description in rows:
        depth = planter.rng.choice((0, 0, 1, 2, 3, 4))
        target = planted.nested(planter.rng, made, depth)
        if (tag in target and depth == 0) or tag in planted.NESTING:
            depth = 2
            target = planted.nested(planter.rng, made, depth)
        if tag in target or tag in planted.NESTING:
            continue
        planter.plant(target, tag, vr, f"{tag:08X} {vr} depth {depth}", is_description=is_description)


def table_rows() -> list[tuple[int, str, bool]]:
    """Every attribute of the table with its VR, and whether it is a description."""
    rows = []
    for tag, row in sorted(table().attributes.items()):
        vr = row.vr or vr_of(tag)
        if row.basic in ("K", "C") or tag in (0x00020003, 0x00420011, 0xFFFAFFFA, 0xFFFCFFFC) or tag >> 16 == 0:
            continue
        is_description = any(name == "desc" for name, _ in row.options)
        rows.append((tag, vr.split(" or ")[0], is_description))
    return rows


def native(rng: random.Random, planter: Planter, made: Dataset) -> np.ndarray:
    """Pixels whose unused bits or trailing bytes hold a name."""
    array = planted.pixels(rng, made)
    data = bytearray(made.PixelData)
    name = f"{ascii_name(planter)}{planter.person.mrn}"
    if rng.random() < 0.5:
        for number, letter in enumerate(name):
            # A letter in the four unused bits of two cells.
            data[4 * number + 1] |= ord(letter) & 0xF0
            data[4 * number + 3] |= (ord(letter) & 0x0F) << 4
        made.PixelData = bytes(data)
        planter.places.append("high bits")
    if rng.random() < 0.5:
        made.PixelData = bytes(made.PixelData) + f"  {name}".encode().ljust(40)
        planter.places.append("behind the pixels")
    made["PixelData"].VR = "OW"
    return array


def jpeg(rng: random.Random, planter: Planter, made: Dataset) -> tuple[UID, None]:
    image = Image.fromarray(np.frombuffer(rng.randbytes(256), dtype="u1").reshape(16, 16))
    out = io.BytesIO()
    name = f"{ascii_name(planter)} {planter.person.mrn}".encode()
    image.save(out, "JPEG", quality=90, comment=name)
    data = out.getvalue()
    segment = b"\xff\xe1" + struct.pack(">H", len(name) + 8) + b"Exif\0\0" + name
    data = data[:2] + segment + data[2:] + name + b"\0" * (len(name) % 2)
    _eight_bit(made)
    made.PixelData = encapsulate([data], has_bot=rng.random() < 0.5)
    made["PixelData"].VR = "OB"
    planter.places.append("JPEG")
    return planted.JPEG, None


def jpeg_2000(rng: random.Random, planter: Planter, made: Dataset) -> tuple[UID, None]:
    import imagecodecs

    array = np.frombuffer(rng.randbytes(256), dtype="u1").reshape(16, 16)
    data = imagecodecs.jpeg2k_encode(array, codecformat="j2k", level=0, reversible=True)
    name = f"{ascii_name(planter)} {planter.person.mrn}".encode()
    comment = b"\xff\x64" + struct.pack(">HH", len(name) + 4, 1) + name
    size = struct.unpack_from(">H", data, 4)[0]
    data = data[: 4 + size] + comment + data[4 + size :] + name
    _eight_bit(made)
    made.PixelData = encapsulate([data + b"\0" * (len(data) % 2)], has_bot=False)
    made["PixelData"].VR = "OB"
    planter.places.append("JPEG 2000")
    return planted.JPEG_2000, None


def jpeg_ls(rng: random.Random, planter: Planter, made: Dataset) -> tuple[UID, None]:
    import imagecodecs

    array = np.frombuffer(rng.randbytes(256), dtype="u1").reshape(16, 16)
    data = imagecodecs.jpegls_encode(array)
    name = f"{ascii_name(planter)} {planter.person.mrn}".encode()
    data = data[:2] + b"\xff\xfe" + struct.pack(">H", len(name) + 2) + name + data[2:] + name
    _eight_bit(made)
    made.PixelData = encapsulate([data + b"\0" * (len(data) % 2)], has_bot=False)
    made["PixelData"].VR = "OB"
    planter.places.append("JPEG-LS")
    return planted.JPEG_LS, None


def rle(rng: random.Random, planter: Planter, made: Dataset) -> tuple[UID, None]:
    body = rng.randbytes(256)
    packed = b"".join(bytes([127]) + body[start : start + 128] for start in (0, 128))
    name = f"{ascii_name(planter)} {planter.person.mrn}".encode()
    head = struct.pack("<II", 1, 64) + name.ljust(56)[:56]
    data = head + packed + name
    _eight_bit(made)
    made.PixelData = encapsulate([data + b"\0" * (len(data) % 2)], has_bot=True)
    made["PixelData"].VR = "OB"
    planter.places.append("RLE")
    return planted.RLE, None


def _eight_bit(made: Dataset) -> None:
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows = made.Columns = 16
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0


def references(planter: Planter, made: Dataset) -> list[str]:
    """References that have to stay whole."""
    uid = f"{planter.person.uid}.77"
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = planted.CT, uid
    series = Dataset()
    series.SeriesInstanceUID = f"{planter.person.uid}.3"
    series.ReferencedSOPSequence = Sequence([item])
    made.ReferencedSeriesSequence = Sequence([series])
    other = Dataset()
    other.ReferencedSOPClassUID, other.ReferencedSOPInstanceUID = planted.CT, uid
    made.ReferencedImageSequence = Sequence([other])
    return [uid]


def instance(seed: int, number: int, rows: list[tuple[int, str, bool]]) -> Planted:
    """One planted instance; UN stays UN while it is made."""
    before = config.replace_un_with_known_vr
    config.replace_un_with_known_vr = False
    try:
        return _instance(seed, number, rows)
    finally:
        config.replace_un_with_known_vr = before


def _instance(seed: int, number: int, rows: list[tuple[int, str, bool]]) -> Planted:
    """Instance ``number``: some rows of the table, some attributes it does not list, some hiding places."""
    rng = random.Random(f"{seed} {number}")
    planter = Planter(rng)
    made = planted.base(planter, rng.choice((planted.CT, planted.MR)))
    whole = references(planter, made)
    unlisted = [(tag, vr, vr in ("LT", "UT", "ST", "LO")) for tag, vr in rng.sample(_UNLISTED, 5)]
    attributes(planter, made, rows + unlisted)
    for hide in rng.sample(HIDING, 4):
        hide(planter, made)
    # An attribute with a VR it does not have.
    wrong = rng.choice(rows)
    if wrong[0] not in made and vr_of(wrong[0]) != "SQ":
        planter.plant(made, wrong[0], rng.choice(("LO", "UT", "UN", "OB", "LT", "SQ")), f"{wrong[0]:08X} wrong VR")
    array = None
    choice = rng.randrange(10)
    if choice < 5:
        array = native(rng, planter, made)
        syntax = (planted.EXPLICIT, planted.IMPLICIT, planted.DEFLATED, planted.EXPLICIT, planted.IMPLICIT)[choice]
    else:
        encode = (jpeg, jpeg_2000, jpeg_ls, rle, rle)[choice - 5]
        syntax, array = encode(rng, planter, made)
    survive = {tag: made[tag].value for tag in planted.SURVIVE if tag in made}
    name = f"{ascii_name(planter)} {planter.person.mrn}"
    planter.needles[ascii_name(planter)] = "outside the data set"
    preamble = name.encode().ljust(128, b"\0") if rng.random() < 0.5 else b"\0" * 128
    meta = {
        "SourceApplicationEntityTitle": f"{planter.person.mrn}",
        "ImplementationVersionName": ascii_name(planter)[:16],
        "PrivateInformationCreatorUID": planter.person.uid,
        "PrivateInformation": name.encode() + b"\0" * (len(name) % 2),
    }
    data = part10(made, syntax, preamble=preamble, meta=meta)
    if syntax == planted.EXPLICIT and rng.random() < 0.5:
        data += raw_element(0xFFFCFFFC, b"OB", name.encode().ljust(64))
    return Planted(
        data=data,
        needles=planter.needles,
        places=planter.places,
        survive=survive,
        words=planter.words,
        word_places=planter.word_places,
        array=array,
        references=whole,
        person=planter.person,
        name=f"gen_{number:05}.dcm",
    )


def instances(seed: int, count: int) -> list[Planted]:
    """``count`` instances which together have every row of the table, several times if they are many."""
    return list(each_instance(seed, count))


def each_instance(seed: int, count: int) -> Iterator[Planted]:
    """The same instances one by one, so that thousands need no more memory than one."""
    rng = random.Random(seed)
    rows = table_rows()
    per_instance = 24
    deck: list[tuple[int, str, bool]] = []
    for number in range(count):
        if len(deck) < per_instance:
            more = rows[:]
            rng.shuffle(more)
            deck = more + deck
        taken, deck = deck[-per_instance:], deck[:-per_instance]
        yield instance(seed, number, taken)
