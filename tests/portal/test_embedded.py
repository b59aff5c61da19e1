"""What an embedded installation makes on its first start is whole, or made again."""

from pathlib import Path

import pytest

from portal import embedded


def test_a_start_that_was_cut_off_between_key_and_certificate_is_repeated(tmp_path: Path) -> None:
    embedded.make_folders(tmp_path)
    (tmp_path / "keys" / "tls.key").write_bytes(b"")
    embedded.make_certificate(tmp_path)
    made = (tmp_path / "keys" / "tls.crt").read_bytes()
    embedded.make_certificate(tmp_path)
    assert (tmp_path / "keys" / "tls.crt").read_bytes() == made


def test_a_secret_is_written_whole_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    embedded.write_once(path, b"first")
    with pytest.raises(FileExistsError):
        embedded.write_once(path, b"second")
    assert path.read_bytes() == b"first"
    assert [file.name for file in tmp_path.iterdir()] == ["secret.key"]
    assert path.stat().st_mode & 0o777 == 0o400
