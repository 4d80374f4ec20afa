"""The token: what counts as one, and when its file is read."""

from pathlib import Path

import pytest

from opsd.disk import Disk
from opsd.sprite.service.token import Token, TokenUnusable


def test_without_one_none_is_needed() -> None:
    assert not Token(Disk(), path=None, value=None).is_needed


def test_any_of_several_presented_ones_may_be_it() -> None:
    token = Token(Disk(), path=None, value="secret")

    assert token.is_among([b"wrong", b"secret"])
    assert not token.is_among([b"wrong", b"secre", b"secrets", b""])
    assert not token.is_among([])


def test_it_shows_itself_to_nobody() -> None:
    token = Token(Disk(), path=None, value="secret")

    assert "secret" not in repr(token) + str(token)


@pytest.mark.parametrize("content", [b"", b"  \n", b"two words", "p\u00e4ss".encode(), b"a\0b"])
def test_what_no_header_can_carry_is_no_token(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    token = Token(Disk(), path=str(file), value=None)

    with pytest.raises(TokenUnusable, match="token") as raised:
        token.check()
    assert not token.is_among([content.strip()])
    assert content.decode(errors="replace").strip() == "" or content.decode(errors="replace") not in str(raised.value)


def test_a_file_that_is_rewritten_in_place_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    token = Token(Disk(), path=str(file), value=None)
    token.check()
    assert token.is_among([b"first"])

    file.write_text("the-second")
    assert token.is_among([b"the-second"])
    assert not token.is_among([b"first"])
