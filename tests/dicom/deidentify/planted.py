"""Files with planted identities: who they are about is known, so whatever of it comes out again is a leak.

Every instance has a patient, staff and an institution of its own, in one of many character sets. Their names, numbers
and dates are written in many spellings into every attribute of the profile's table, by its VR and at depths 0 to 4, and
into every place that is no attribute. Beside them stand values that must survive, and clinical words.
"""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydicom import config
from pydicom.charset import encode_string
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import UID

CT = UID("1.2.840.10008.5.1.4.1.1.2")
MR = UID("1.2.840.10008.5.1.4.1.1.4")
IMPLICIT = UID("1.2.840.10008.1.2")
EXPLICIT = UID("1.2.840.10008.1.2.1")
BIG_ENDIAN = UID("1.2.840.10008.1.2.2")
DEFLATED = UID("1.2.840.10008.1.2.1.99")
JPEG = UID("1.2.840.10008.1.2.4.50")
JPEG_2000 = UID("1.2.840.10008.1.2.4.90")
JPEG_LS = UID("1.2.840.10008.1.2.4.80")
RLE = UID("1.2.840.10008.1.2.5")

# One patient for each character set: terms of (0008,0005), codecs, family, given, ideographic and phonetic group.
PEOPLE = (
    ("ISO_IR 100", "Zellweger", "Karoline", "", ""),
    ("ISO_IR 100", "Müßighöfer", "Jörgine", "", ""),
    ("ISO_IR 101", "Wójciszyn", "Małgorzata", "", ""),
    ("ISO_IR 144", "Житомирцев", "Аристарх", "", ""),
    ("ISO_IR 126", "Παπαχρηστόπουλος", "Θεόκλητος", "", ""),
    ("ISO_IR 127", "قباني", "لنزارية", "", ""),
    ("ISO_IR 138", "שרוניאל", "דבורהלה", "", ""),
    ("ISO_IR 148", "Çağlar\u0131oğlu", "Gülşahin", "", ""),
    ("ISO_IR 166", "ศรีสวัสดิ์วงศ์", "กัลยารัตน์", "", ""),
    ("ISO_IR 192", "O'Tuathaláin", "Sorchanna", "", ""),
    ("GB18030", "Wangxiu", "Dongmei", "王秀^东梅", ""),
    ("GBK", "Ouyangfei", "Lihuazhen", "欧阳飞^丽华珍", ""),
    ("\\ISO 2022 IR 87", "Yamadaguchi", "Tarojiro", "山田口^太郎二", "やまだぐち^たろうじ"),
    ("\\ISO 2022 IR 149", "Hongbok", "Gildongsu", "洪福^吉洞秀", "홍복^길동수"),
    ("ISO_IR 192", "Nakamurase", "Hanakomi", "中村瀬^花子美", "なかむらせ^はなこみ"),
    ("", "Thistlewhite", "Bartholomea", "", ""),
)
STAFF = (
    "Quackenbush",
    "Ferdinanda",
    "Oyelarano",
    "Temitopein",
    "Vandersloot",
    "Wilhelmynus",
    "Brandauerin",
    "Ottokarla",
)
PLACES = ("Krummbachtal", "Sankt-Veitshausen", "Llanfairpwll", "Eichenzellweg", "Przemyslany")
CLINICAL = (
    "CT chest with intravenous contrast, portal venous phase",
    "Follow-up of left lower lobe nodule, 5 mm, unchanged since prior examination",
    "MRI brain without contrast, rule out ischemic stroke",
    "Severe abdominal pain, suspected appendicitis",
    "T2 TSE transversal fat suppressed, slice thickness 3 mm",
    "Status post hip replacement, loosening of the prosthesis?",
    "Thorax Routine 1.5 mm, lung window",
    "Fracture of the distal radius, postoperative control",
    "Schädel nativ, Ausschluss Blutung",
    "Verlaufskontrolle nach Chemotherapie, Leber und Milz",
    "Known hepatic metastases, response to therapy",
    "Dyspnea and cough for three weeks, smoker",
    "Carotid artery stenosis, angiography of neck vessels",
    "Lumbar spine, degenerative changes at L4/L5, disc herniation",
    "Pediatric abdomen, intussusception suspected",
    "Mass in the right breast, biopsy recommended",
    "Pulmonary embolism protocol, bolus tracking",
    "Knee joint, tear of medial meniscus",
    "Renal calculi with hydronephrosis on the left side",
    "Multiple sclerosis, new enhancing lesions in periventricular white matter",
)
# Standard sequences that the table does not list, to nest in.
NESTING = (0x00081115, 0x0040A730, 0x00400440, 0x00189346, 0x00082218, 0x52009229, 0x00289145, 0x00186011)
KEPT_TEXT = {
    0x00080060: ("CS", "CT"),
    0x00080070: ("LO", "SIEMENS"),
    0x00180015: ("CS", "CHEST"),
    0x00185100: ("CS", "HFS"),
    0x00181210: ("SH", "B31f"),
    0x00201040: ("LO", ""),
    0x00281054: ("LO", "HU"),
}


@dataclass
class Person:
    """The people of one instance and everything that names them."""

    charset: str
    family: str
    given: str
    ideographic: str
    phonetic: str
    mrn: str
    accession: str
    birth: str
    phone: str
    insurance: str
    physician: tuple[str, str]
    operator: tuple[str, str]
    place: str
    uid: str

    @property
    def encodings(self) -> list[str]:
        from pydicom.charset import convert_encodings

        return list(convert_encodings(self.charset.split("\\"))) if self.charset else ["iso8859"]

    def person_name(self) -> str:
        groups = [f"{self.family}^{self.given}"]
        if self.ideographic:
            groups.append(self.ideographic)
            if self.phonetic:
                groups.append(self.phonetic)
        return "=".join(groups)


@dataclass
class Planted:
    """A file, what must not come out of it and what must."""

    data: bytes
    needles: dict[str, str] = field(default_factory=dict)
    """What was planted: needle to kind of place, folded later by whoever looks."""
    places: list[str] = field(default_factory=list)
    survive: dict[int, Any] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    word_places: list[str] = field(default_factory=list)
    array: Any = None
    references: list[str] = field(default_factory=list)
    person: Person | None = None
    name: str = ""


def person(rng: random.Random) -> Person:
    """Somebody new."""
    charset, family, given, ideographic, phonetic = rng.choice(PEOPLE)
    digits = [rng.randrange(10**6, 10**7) for _ in range(4)]
    year, month, day = rng.randrange(1931, 2004), rng.randrange(1, 13), rng.randrange(13, 29)
    staff = rng.sample(range(0, len(STAFF), 2), 2)
    return Person(
        charset=charset,
        family=family,
        given=given,
        ideographic=ideographic,
        phonetic=phonetic,
        mrn=f"K{digits[0]}",
        accession=f"A{digits[1]}X",
        birth=f"{year}{month:02}{day:02}",
        phone=f"0{rng.randrange(30, 99)}-{rng.randrange(200, 999)}-{rng.randrange(1000, 9999)}",
        insurance=f"{digits[2]}{rng.randrange(100, 999)}",
        physician=(STAFF[staff[0]], STAFF[staff[0] + 1]),
        operator=(STAFF[staff[1]], STAFF[staff[1] + 1]),
        place=rng.choice(PLACES),
        uid=f"1.3.6.1.4.1.{rng.randrange(10000, 99999)}.{year}{month:02}{day:02}.{digits[3]}.{rng.randrange(10**6)}",
    )


def plain(text: str) -> str:
    """Without diacritics."""
    import unicodedata

    special = str.maketrans({"ł": "l", "ß": "ss", "\u0131": "i", "ø": "o"})
    decomposed = unicodedata.normalize("NFKD", text.translate(special))
    return "".join(part for part in decomposed if not unicodedata.combining(part))


def name_spellings(family: str, given: str) -> list[Callable[[], str]]:
    """The ways people write a name."""
    return [
        lambda: f"{family}^{given}",
        lambda: f"{given} {family}",
        lambda: f"{family}, {given}",
        lambda: f"{family.upper()} {given.upper()}",
        lambda: f"{given.lower()}.{family.lower()}",
        lambda: f"{family}{given}",
        lambda: f"{given[0]}. {family}",
        lambda: f"{family}_{given}",
        lambda: plain(f"{given} {family}"),
        lambda: plain(family).upper(),
        lambda: f"Dr. {family}",
        lambda: f"Patient{family}",
        lambda: f"{family}-{STAFF[0]}",
        family.swapcase,
    ]


def date_spellings(date: str) -> list[str]:
    """The ways people write a date."""
    year, month, day = date[:4], date[4:6], date[6:]
    names = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    return [
        date,
        f"{day}.{month}.{year}",
        f"{month}/{day}/{year}",
        f"{year}-{month}-{day}",
        f"{day}-{names[int(month) - 1]}-{year}",
        f"{names[int(month) - 1]} {day}, {year}",
        f"{day}{month}{year}",
        f"{day}.{month}.{year[2:]}",
        f"{int(day)}. {int(month)}. {year}",
        f"{year}/{month}/{day}",
    ]


def number_spellings(number: str) -> list[str]:
    """The ways people write a record number."""
    body = number.strip("KAX")
    return [
        number,
        body,
        f"{body[:3]}-{body[3:]}",
        f"{body[:2]} {body[2:5]} {body[5:]}",
        f"MRN:{number}",
        f"#{body}",
        number.lower(),
        f"{body[:3]}.{body[3:]}",
        f"ID{body}/1",
        f"00{body}",
    ]


def phone_spellings(phone: str) -> list[str]:
    """The ways people write a telephone number."""
    area, first, last = phone.split("-")
    return [
        phone,
        f"({area}) {first} {last}",
        f"+49 {area[1:]} {first}{last}",
        f"{area}/{first}{last}",
        f"{area}{first}{last}",
        f"{area}.{first}.{last}",
    ]


class Planter:
    """Writes an identity into a data set and remembers what was written."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.person = person(rng)
        self.needles: dict[str, str] = {}
        self.words: list[str] = []
        self.word_places: list[str] = []
        self.places: list[str] = []

    def needle(self, place: str) -> str:
        """A spelling of something of the identity, to be planted at ``place``."""
        who, rng = self.person, self.rng
        kind = rng.randrange(9)
        if kind <= 2:
            written = rng.choice(name_spellings(who.family, who.given))()
            self._name(written, who.family, who.given, place)
        elif kind == 3:
            family, given = rng.choice((who.physician, who.operator))
            written = rng.choice(name_spellings(family, given))()
            self._name(written, family, given, place)
        elif kind == 4:
            written = rng.choice(number_spellings(rng.choice((who.mrn, who.accession))))
            self.needles[written] = place
        elif kind == 5:
            written = rng.choice(date_spellings(who.birth))
            self.needles[written] = place
        elif kind == 6:
            written = rng.choice(phone_spellings(who.phone))
            self.needles[written] = place
        elif kind == 7 and who.ideographic:
            written = who.ideographic.replace("^", rng.choice(("", " ", "^")))
            for part in who.ideographic.split("^"):
                self.needles[part] = place
        else:
            written = who.insurance
            self.needles[written] = place
        self.places.append(place)
        return written

    def _name(self, written: str, family: str, given: str, place: str) -> None:
        for form in {family, plain(family)}:
            if plain(form).lower() in plain(written).lower():
                self.needles[form] = place
        if plain(given).lower() in plain(written).lower():
            self.needles[given] = place

    def encodable(self, text: str) -> str:
        """``text`` as far as the character set has it."""
        try:
            encode_string(text, self.person.encodings)
        except (UnicodeEncodeError, LookupError, ValueError):
            return plain(text).encode("ascii", "ignore").decode()
        if "\\" in text:
            return text.replace("\\", " ")
        try:
            text.encode(self.person.encodings[0]) if len(self.person.encodings) == 1 else None
        except UnicodeEncodeError:
            return plain(text).encode("ascii", "ignore").decode()
        return text

    def sentence(self, place: str) -> str:
        """Clinical words with an identity among them."""
        words = self.rng.choice(CLINICAL)
        if "/UT" not in place:
            # Below a sequence of the table everything may go, whatever it says.
            self.words.append(words)
            self.word_places.append(place)
        needle = self.needle(place)
        forms = (
            f"{words} {needle}",
            f"{needle}: {words}",
            f"{words}; seen by {needle}",
            f"{words}\r\nPatient {needle}",
        )
        return self.encodable(self.rng.choice(forms))

    def value(self, vr: str, place: str, *, is_description: bool) -> Any:  # noqa: C901 a branch for each VR
        """A value of ``vr`` with an identity in it, as far as the VR has room for one."""
        who, rng = self.person, self.rng
        if vr == "PN":
            family, given = rng.choice(((who.family, who.given), who.physician, who.operator))
            self._name(f"{family}^{given}", family, given, place)
            self.places.append(place)
            return self.encodable(f"{family}^{given}")
        if vr in ("LO", "SH", "UC"):
            if is_description and vr != "SH":
                return self.sentence(place)[:250]
            return self.encodable(self.needle(place))
        if vr in ("LT", "ST", "UT"):
            return self.sentence(place) if is_description else self.encodable(self.needle(place))
        if vr == "UR":
            written = f"http://pacs.example/{plain(who.family).encode('ascii', 'ignore').decode() or who.mrn}/{who.mrn}"
            self.needles[who.mrn] = place
            return written
        if vr == "AE":
            self.needles[who.mrn] = place
            return f"{who.mrn}_AE"
        if vr == "CS":
            family = plain(who.family).upper()
            if not family.isascii():
                family = who.physician[0].upper()
            self.needles[family] = place
            return family[:16]
        if vr == "DA":
            self.needles[who.birth] = place
            return who.birth
        if vr == "DT":
            self.needles[f"{who.birth}083512"] = place
            return f"{who.birth}083512.123456"
        if vr == "TM":
            return "083512.123456"
        if vr == "AS":
            return "094Y"
        if vr in ("DS", "IS"):
            number = who.mrn[1:]
            self.needles[number] = place
            return number
        if vr == "UI":
            self.needles[who.uid] = place
            return who.uid + f".{rng.randrange(1000)}"
        if vr in ("OB", "OW", "UN"):
            written = plain(f"{who.physician[0]} {who.mrn}")
            self.needles[who.mrn] = place
            self.needles[who.physician[0]] = place
            return written.encode() + b" " * (len(written) % 2)
        if vr in ("UL", "SL"):
            return int(who.mrn[1:])
        if vr in ("US", "SS"):
            return 7
        if vr in ("FD", "FL"):
            return float(who.mrn[1:])
        return None

    def plant(self, target: Dataset, tag: int, vr: str, place: str, *, is_description: bool = False) -> None:
        """Plant into one attribute."""
        self.places.append(place)
        if vr == "SQ":
            inner = Dataset()
            self.plant(inner, 0x0040A123, "PN", place + "/PN")
            self.plant(inner, 0x00080104, "LO", place + "/LO")
            self.plant(inner, 0x00081155, "UI", place + "/UI")
            self.plant(inner, 0x0040A160, "UT", place + "/UT", is_description=True)
            target.add(DataElement(tag, "SQ", Sequence([inner])))
            return
        value = self.value(vr, place, is_description=is_description)
        if value is not None:
            target.add(DataElement(tag, vr, value))


def nested(rng: random.Random, root: Dataset, depth: int) -> Dataset:
    """An item ``depth`` sequences below ``root``."""
    here = root
    for level in range(depth):
        tag = NESTING[(level * 3 + rng.randrange(3)) % len(NESTING)]
        if tag in here and here[tag].VR == "SQ" and here[tag].value:
            here = here[tag].value[0]
            continue
        item = Dataset()
        here.add(DataElement(tag, "SQ", Sequence([item])))
        here = item
    return here


def base(planter: Planter, sop_class: UID) -> Dataset:
    """An image as a scanner sends it, about ``planter.person``."""
    who, rng = planter.person, planter.rng
    made = Dataset()
    if who.charset:
        made.SpecificCharacterSet = who.charset.split("\\") if "\\" in who.charset else who.charset
    made.SOPClassUID = sop_class
    made.SOPInstanceUID = f"{who.uid}.1.{rng.randrange(10**6)}"
    made.StudyInstanceUID = f"{who.uid}.2"
    made.SeriesInstanceUID = f"{who.uid}.3"
    made.FrameOfReferenceUID = f"{who.uid}.4"
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.PatientName = planter.encodable(who.person_name())
    made.PatientID = who.mrn
    made.PatientBirthDate = who.birth
    made.PatientSex = rng.choice("FM")
    made.PatientAge = rng.choice(("041Y", "093Y"))
    made.PatientAddress = f"12 {who.place}, 35037 {who.place}"
    made.PatientTelephoneNumbers = who.phone
    made.InsurancePlanIdentification = who.insurance
    made.AccessionNumber = who.accession
    made.StudyID = f"S{who.mrn}"
    made.ReferringPhysicianName = "^".join(who.physician)
    made.OperatorsName = "^".join(who.operator)
    made.InstitutionName = f"Klinik {who.place}"
    made.StationName = f"CT-{who.place}"[:16]
    made.StudyDate = "20190411"
    made.StudyTime = "101530"
    made.SeriesDate = made.AcquisitionDate = made.ContentDate = "20190412"
    made.SeriesTime = made.AcquisitionTime = made.ContentTime = "102030.250000"
    made.StudyDescription = planter.sentence("StudyDescription")[:60] if rng.random() < 0.5 else "Thorax Routine"
    planter.needles.update(
        {who.mrn: "core", who.accession: "core", who.phone: "core", who.uid: "core", who.place: "core"}
    )
    planter.needles.update({who.insurance: "core", who.family: "core", who.given: "core"})
    for part in (*who.ideographic.split("^"), *who.phonetic.split("^")):
        if part:
            planter.needles[part] = "core"
    planter.needles.update(dict.fromkeys((*who.physician, *who.operator), "core"))
    made.SeriesNumber = rng.randrange(1, 20)
    made.InstanceNumber = rng.randrange(1, 500)
    made.SliceThickness = rng.choice(("1.5", "3", "5.0"))
    made.KVP = "120"
    made.PixelSpacing = [f"0.{rng.randrange(300, 999)}", "0.6"]
    made.ImagePositionPatient = [f"-{rng.randrange(100, 200)}.5", "-201.25", f"{rng.randrange(900)}.75"]
    made.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    made.RescaleIntercept, made.RescaleSlope = "-1024", "1"
    made.WindowCenter, made.WindowWidth = "40", "400"
    for tag, (vr, value) in KEPT_TEXT.items():
        made.add(DataElement(tag, vr, value))
    return made


SURVIVE = (
    0x00080008, 0x00080016, 0x00100040, 0x00180050, 0x00180060, 0x00200011, 0x00200013, 0x00200032, 0x00200037,
    0x00280002, 0x00280004, 0x00280010, 0x00280011, 0x00280030, 0x00280100, 0x00280101, 0x00280102, 0x00280103,
    0x00281050, 0x00281051, 0x00281052, 0x00281053, *KEPT_TEXT,
)  # fmt: skip


def pixels(rng: random.Random, made: Dataset, rows: int = 16, columns: int = 16, *, bits: int = 12) -> np.ndarray:
    """Add noise as pixels."""
    values = np.frombuffer(rng.randbytes(rows * columns * 2), dtype="<u2").reshape(rows, columns) & ((1 << bits) - 1)
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = rows, columns
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, bits, bits - 1, 0
    made.PixelData = values.astype("<u2").tobytes()
    made["PixelData"].VR = "OW"
    return values


def part10(made: Dataset, syntax: UID, *, preamble: bytes = b"\0" * 128, meta: dict[str, Any] | None = None) -> bytes:
    """The file of a data set."""
    info = FileMetaDataset()
    info.MediaStorageSOPClassUID = made.SOPClassUID
    info.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    info.TransferSyntaxUID = syntax
    info.ImplementationClassUID = UID("1.2.3.4")
    for keyword, value in (meta or {}).items():
        setattr(info, keyword, value)
    made.file_meta = info
    out = io.BytesIO()
    with _Lenient():
        dcmwrite(out, made, enforce_file_format=True, overwrite=True)
    return preamble + out.getvalue()[128:]


class _Lenient:
    def __enter__(self) -> None:
        self.before = config.settings.writing_validation_mode
        config.settings.writing_validation_mode = config.IGNORE

    def __exit__(self, *args: object) -> None:
        config.settings.writing_validation_mode = self.before


def raw_element(tag: int, vr: bytes, value: bytes) -> bytes:
    """One element in explicit VR little endian, as it comes."""
    value += b" " * (len(value) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in (b"OB", b"OW", b"UN", b"UT", b"SQ"):
        return head + b"\0\0" + struct.pack("<I", len(value)) + value
    return head + struct.pack("<H", len(value)) + value
