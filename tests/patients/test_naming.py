import pytest

from apps.patients.naming import fold, fold_name, readable, search_terms, spelled_words, words


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Müller", "muller"),
        ("  MÜLLER   Jörg ", "muller jorg"),
        ("Straße", "strasse"),
        ("Łukasz Ærø", "lukasz aero"),
        ("İnci", "inci"),
        ("\uff37\uff41\uff4e\uff47", "wang"),
        ("김희중", "김희중"),
        ("山田", "山田"),
        ("Δημήτρης", "δημητρησ"),
        ("Ёлкин", "елкин"),
        ("", ""),
    ],
)
def test_case_and_diacritics_do_not_count(text: str, folded: str) -> None:
    assert fold(text) == folded


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("Müller^Jörg^^^", "muller^jorg"),
        ("Yamada^Tarou=山田^太郎=やまた^たろう", "yamada^tarou=山田^太郎=やまた^たろう"),
        ("Wang^Li==", "wang^li"),
        ("^Anna", "^anna"),
        ("=山田^太郎", "=山田^太郎"),
    ],
)
def test_a_folded_name_keeps_its_components(name: str, folded: str) -> None:
    assert fold_name(name) == folded


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Müller^Jörg^Peter^Dr.^jun.", "Müller, Jörg Peter (Dr. jun.)"),
        ("Müller", "Müller"),
        ("^Jörg", "Jörg"),
        ("=山田^太郎", "山田, 太郎"),
        ("^^^=", ""),
        ("", ""),
    ],
)
def test_names_are_shown_as_people_write_them(name: str, shown: str) -> None:
    assert readable(name) == shown


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("Müller^Jörg", "mul"),
        ("Müller^Jörg", "muel"),
        ("Müller^Jörg", "MÜLLER"),
        ("MUELLER^JOERG", "mül"),
        ("Müller-Lüdenscheidt^A", "lude"),
        ("Müller-Lüdenscheidt^A", "müller-lü"),
        ("O'Brien^Pat", "obrien"),
        ("O'Brien^Pat", "brien"),
        ("O\u2019Brien^Pat", "o'bri"),
        ("Yamada^Tarou=山田^太郎", "山"),
    ],
)
def test_a_name_is_found_by_how_somebody_types_it(name: str, typed: str) -> None:
    terms = search_terms(name)
    [spellings] = spelled_words(typed)
    assert any(term.startswith(spelling) for term in terms for spelling in spellings)


def test_a_name_is_not_found_by_its_middle() -> None:
    assert not any(term.startswith("ller") for term in search_terms("Müller^Jörg"))


def test_terms_stay_within_what_the_index_holds() -> None:
    terms = search_terms(" ".join(f"word{number}" for number in range(1000)), "x" * 1000)
    assert len(terms) <= 48
    assert max(map(len, terms)) <= 64


def test_words_come_once() -> None:
    assert words("Doe^John^doe, JOHN") == ["doe", "john"]
