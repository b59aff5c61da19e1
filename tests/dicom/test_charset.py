"""Names and texts in every script, also where the file is wrong about it."""

from __future__ import annotations

import pytest

from apps.dicom.charset import decode_text, encodings_from, split_values


@pytest.mark.parametrize(
    ("character_sets", "value", "expected"),
    [
        (["ISO_IR 100"], b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        (["ISO-IR 100"], b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        (["ISO_IR 192"], "Wang^XiaoDong=王^小东".encode(), "Wang^XiaoDong=王^小东"),
        (["GB18030"], "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
        (["GBK"], "Wang^XiaoDong=王^小东".encode("gbk"), "Wang^XiaoDong=王^小东"),
        (["", "ISO 2022 IR 58"], b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "Zhang^XiaoDong=张^小东"),
        (["", "ISO 2022 IR 87"], b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎"),
        (["", "ISO 2022 IR 149"], b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "Hong^Gildong=洪^吉洞"),
        (["NONSENSE"], b"M\xfcller", "Müller"),
        ([], b"M\xfcller", "Müller"),
    ],
)
def test_names_are_read_in_their_script(character_sets: list[str], value: bytes, expected: str) -> None:
    assert decode_text(value, encodings_from(character_sets), is_person_name=True) == expected


def test_a_backslash_inside_a_character_does_not_split_the_value() -> None:
    # The second byte of this character in GB18030 is 5CH, the code of the backslash.
    value = "俓".encode("gb18030") + b"\\B"
    assert value.count(b"\\") == 2
    assert split_values(decode_text(value, encodings_from(["GB18030"]))) == ["俓", "B"]


def test_what_cannot_be_decoded_leaves_the_rest_readable() -> None:
    assert decode_text(b"M\xfcller^Anna", encodings_from(["ISO_IR 192"])) == "M\ufffdller^Anna"


def test_control_characters_do_not_come_through_but_lines_do() -> None:
    assert decode_text(b"a\0b\x07c\r\nd\te", encodings_from([])) == "abc\r\nd\te"
    assert decode_text(b"\x1b[31mred", encodings_from([])) == "[31mred"


def test_values_are_stripped_and_empty_text_has_none() -> None:
    assert split_values(" A \\B\0\\ ") == ["A", "B", ""]
    assert split_values("  \0") == []
