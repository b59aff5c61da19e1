"""Look up attributes by keyword or tag: PS3.6 section 6, as pydicom ships it."""

from pydicom.datadict import keyword_for_tag, tag_for_keyword


def tag_of_keyword(keyword: str) -> str | None:
    """Return the tag of a keyword as eight upper-case hexadecimal digits, None when there is no such attribute."""
    number = tag_for_keyword(keyword)
    return None if number is None else f"{number:08X}"


def keyword_of_tag(tag: str) -> str:
    """Return the keyword of a tag of eight hexadecimal digits, empty when unknown or private."""
    return keyword_for_tag(int(tag, 16))
