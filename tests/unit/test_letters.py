import itertools

import pytest

from tertulia.domain.letters import LANGUAGES, Language, LetterKind, compose, pick_language

KINDS: tuple[LetterKind, ...] = ("verify", "reset")
ALL = list(itertools.product(KINDS, LANGUAGES))
GSM_BASIC = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    "ÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)


@pytest.mark.parametrize(("kind", "language"), ALL)
def test_every_letter_names_brand_and_code_and_fits(kind: LetterKind, language: Language) -> None:
    letter = compose(kind, language=language, brand="Casa {code} Luz", code="428913", minutes=15)
    assert letter.language == language
    assert "Casa {code} Luz" in letter.subject
    assert "Casa {code} Luz" in letter.text
    assert "Casa {code} Luz" in letter.sms
    assert "428913" not in letter.subject, "a subject shows on a locked screen"
    assert "\n\n428913\n\n" in letter.text
    assert "428913" in letter.sms
    assert "15" in letter.text
    assert "{span}" not in letter.text + letter.subject + letter.sms
    assert letter.subject.isprintable()


@pytest.mark.parametrize(("kind", "language"), ALL)
def test_a_text_with_an_ordinary_brand_is_one_sms(kind: LetterKind, language: Language) -> None:
    sms = compose(kind, language=language, brand="Tertulia", code="428913", minutes=15).sms
    if language in ("en", "es"):
        assert set(sms) <= GSM_BASIC
        assert len(sms) <= 160
    else:
        assert len(sms.encode("utf-16-be")) <= 140


def test_languages_differ_and_so_do_kinds() -> None:
    letters = [
        compose(kind, language=language, brand="T", code="428913", minutes=15) for kind, language in ALL
    ]
    assert len({letter.subject for letter in letters}) == len(letters)
    assert len({letter.text for letter in letters}) == len(letters)
    assert len({letter.sms for letter in letters}) == len(letters)


@pytest.mark.parametrize(
    ("language", "minutes", "phrase"),
    [
        ("en", 1, "1 minute."),
        ("en", 10, "10 minutes."),
        ("es", 1, "1 minuto."),
        ("es", 10, "10 minutos."),
        ("ar", 1, "دقيقة واحدة"),
        ("ar", 2, "دقيقتين"),
        ("ar", 10, "10 دقائق"),
        ("ar", 15, "15 دقيقة"),
        ("ar", 103, "103 دقائق"),
        ("zh", 10, "10 分钟"),
    ],
)
def test_minutes_have_their_plural(language: str, minutes: int, phrase: str) -> None:
    letter = compose("verify", language=language, brand="T", code="428913", minutes=minutes)
    assert phrase in letter.text


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("es-MX", "es"),
        ("zh-Hant-TW", "zh"),
        ("zh_CN", "zh"),
        ("AR", "ar"),
        ("en", "en"),
        ("fr", "en"),
        ("est", "en"),
        ("", "en"),
        (None, "en"),
    ],
)
def test_the_nearest_language_is_picked(tag: str | None, language: str) -> None:
    assert pick_language(tag) == language


@pytest.mark.parametrize("brand", ["", "  ", "a\nb", "a\r\nBcc: x@y", "a\u202eb", "x" * 41, "a\x00"])
def test_a_brand_that_would_break_out_is_refused(brand: str) -> None:
    with pytest.raises(ValueError, match="brand"):
        compose("verify", language="en", brand=brand, code="428913", minutes=15)


@pytest.mark.parametrize("code", ["", "123", "12 34", "12\n34", "x" * 33, "１２３４"])
def test_a_code_that_is_none_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="code"):
        compose("verify", language="en", brand="T", code=code, minutes=15)


@pytest.mark.parametrize("minutes", [0, -1, 10_081])
def test_minutes_out_of_range_are_refused(minutes: int) -> None:
    with pytest.raises(ValueError, match="minutes"):
        compose("verify", language="en", brand="T", code="428913", minutes=minutes)
