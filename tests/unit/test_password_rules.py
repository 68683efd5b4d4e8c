"""Which passwords may be chosen, and the forms in which they are compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.domain.passwords import (
    PASSWORD_FAULTS,
    PasswordRefused,
    password_fault,
    prepare,
    scram_form,
)


@pytest.mark.parametrize(
    ("password", "fault"),
    [
        ("", "characters"),
        ("short", "too_short"),
        ("x1y2z3w", "too_short"),
        ("x1y2z3wv", None),
        ("ab" * 64, None),
        ("ab" * 64 + "c", "too_long"),
        ("x" * 1_000_000, "too_long"),
        ("line\nbreak1", "characters"),
        ("nul\x00nul12", "characters"),
        ("soft\u00adhyphen", "characters"),
        ("\ud800surrogate", "characters"),
        ("correct horse battery staple", None),
        ("contraseña larga", None),
        ("пароль-длинный", None),
        ("tr0ub4dor&3", None),
        ("smile😀smile", None),
        ("password", "common"),
        ("PassWord", "common"),
        ("Password123!", "common"),
        ("qwertyuiop", "common"),
        ("12345678", "common"),
        ("zzzzzzzzzz", "common"),
        ("tertulia1", "common"),
        ("ana.gomez", "is_handle"),
        ("Ana.Gomez", "is_handle"),
        ("@ana.gomez", "is_handle"),
        ("ana.g.work@example.com", "is_address"),
        ("ANA.G.WORK", "is_address"),
        ("+34600123456", "is_address"),
        ("ana.gomez and more", None),
    ],
)
def test_what_may_be_chosen(password, fault):
    names = {"handle": "ana.gomez", "email": "ana.g.work@example.com", "phone": "+34600123456"}
    assert password_fault(password, **names) == fault
    assert fault is None or fault in PASSWORD_FAULTS


def test_without_names_only_the_password_counts():
    assert password_fault("ana.gomez") is None


def test_the_same_password_typed_on_two_keyboards_is_the_same():
    assert prepare("mun\u0303oz\u00a0largo") == prepare("mu\u00f1oz largo") == "muñoz largo"
    assert prepare("Σίσυφος") != prepare("σίσυφος")
    with pytest.raises(PasswordRefused) as caught:
        prepare("bell\x07")
    assert caught.value.fault == "characters"


@pytest.mark.parametrize(
    ("password", "form"),
    [
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),  # the examples of RFC 4013 §3
        ("\u2168", "IX"),
        ("I\u00adX", "IX"),
        ("a\u3000b", "a b"),
        ("😀", "😀"),
    ],
)
def test_scram_keys_are_made_of_the_saslprep_form(password, form):
    assert scram_form(password) == form


@given(st.text(max_size=140))
def test_every_text_has_a_verdict_and_preparation_is_idempotent(text):
    fault = password_fault(text)
    assert fault is None or fault in PASSWORD_FAULTS
    if fault is None:
        prepared = prepare(text)
        assert prepare(prepared) == prepared
        assert scram_form(scram_form(prepared)) == scram_form(prepared)
