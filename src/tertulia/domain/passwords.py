"""What may be a password, and the form in which one is compared.

Three facts of a password are kept apart: the form that argon2id sees (`prepare`), the form that
SCRAM keys are made of (`scram_form`), and whether it may be chosen at all (`password_fault`).
"""

from __future__ import annotations

import stringprep
import unicodedata
from typing import Final, Literal, get_args

from precis_i18n import get_profile

PasswordFault = Literal["too_short", "too_long", "characters", "is_handle", "is_address", "common"]
"""Why a password may not be chosen; the set is closed."""

PASSWORD_FAULTS: Final[tuple[str, ...]] = get_args(PasswordFault)

PASSWORD_MIN: Final = 8
PASSWORD_MAX: Final = 128

_OPAQUE: Final = get_profile("OpaqueString")

# The most chosen passwords of published leaks that pass the length rule, or would with the digits
# and marks that people put behind them (see `_stem`).
_COMMON_WORDS: Final = """
00000000 01234567 0123456789 11111111 1111111111 11223344 112233445566 11235813 12121212
1212121212 123123123 123321123 12341234 12344321 1234512345 123454321 12345678 123456789
1234567890 12345678910 12345qwert 1234qwer 123qweasd 123qweasdzxc 1q2w3e4r 1q2w3e4r5t 1qaz2wsx
1qazxsw2 22222222 31415926 55555555 66666666 77777777 777777777 87654321 88888888 987654321
9876543210 99999999 999999999 aaaaaaaa abc abcd1234 abcdefgh abcdefghi access admin administrator
alexander anthony arsenal asdasdasd asdf1234 asdfasdf asdfghjk asdfghjkl asdfqwer babygirl
barcelona baseball basketball batman benjamin blink bonjour butterfly calvin change changeme
charlie chelsea chocolate christian cocacola computer consumer cowboy danielle december dolphin
dragon einstein elephant elizabeth everton facebook fernando ferrari football forever freedom
friends fuckyou gabriel garfield guest hahahaha hannah hardcore heather hello hockey holiday
iloveyou iloveyou1 infinity internet jackson january jennifer jessica jonathan jordan justin
killer kimberly ladybug lakers letmein liverpool login london lovelove lovely loveme manchester
marlboro master maverick melissa mercedes metallica michael michelle midnight monkey motorola
mustang naruto natasha newcastle nicholas nirvana november p@ssw0rd p@ssword pa$$word pa55word
passport passw0rd password passwort patricia peaches phoenix playstation pokemon porsche precious
princess q1w2e3r4 q1w2e3r4t5 qazwsx qazwsxedc qqqqqqqq qwe qweasdzxc qweqweqwe qwerasdf qwert
qwerty qwerty12 qwertyui qwertyuiop qwertyuiop[] rainbow rangers samantha samsung scorpion secret
secret123 september shadow slipknot snoopy snowball spiderman starwars steven sunflower sunshine
superman superstar sweetheart swordfish tertulia test testing testtest thomas thunder trinity
trustno1 undertaker valentina valentine vanessa victoria warcraft webmaster welcome whatever
william winner winter wolverine yankees yourmom zaq12wsx zxcvbnm zxcvbnm123
"""
_COMMON: Final = frozenset(_COMMON_WORDS.split())


class PasswordRefused(ValueError):
    """A password that may not be chosen; `fault` says why, from the closed `PasswordFault` set."""

    def __init__(self, fault: PasswordFault) -> None:
        super().__init__(fault)
        self.fault: PasswordFault = fault


def prepare(password: str) -> str:
    """The form in which passwords are hashed and compared: OpaqueString (RFC 8265 §4.2).

    Spaces of every kind become U+0020 and the text is put in NFC, so that the same password typed
    on two keyboards is the same.

    Raises `PasswordRefused("characters")` for what the profile forbids (control characters, code
    points that are unassigned or ignorable, lone surrogates, the empty text) and
    `PasswordRefused("too_long")` beyond 128 characters before any work is done.
    """
    if len(password) > PASSWORD_MAX:
        raise PasswordRefused("too_long")
    try:
        return _OPAQUE.enforce(password)
    except UnicodeError as error:
        raise PasswordRefused("characters") from error


def scram_form(prepared: str) -> str:
    """The octets that SCRAM keys are made of, as text: SASLprep (RFC 4013 §2.1, §2.2).

    RFC 5802 §2.2 has clients apply SASLprep, which maps more than OpaqueString (NFKC, and some
    characters to nothing).  What SASLprep would forbid is passed through: a client that enforces it
    cannot send such a password anyway, and one that does not will send exactly this.
    """
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in prepared
        if not stringprep.in_table_b1(char)
    )
    return unicodedata.ucd_3_2_0.normalize("NFKC", mapped)


def password_fault(
    password: str, *, handle: str | None = None, email: str | None = None, phone: str | None = None
) -> PasswordFault | None:
    """Why `password` may not be chosen, or None when it may.

    8 to 128 characters after preparation, not one of the account's own names in any case, not one
    of the most common passwords, with digits or `!` behind it or not.  No rules of composition:
    they make passwords worse (NIST SP 800-63B §3.1.1.2).
    """
    try:
        prepared = prepare(password)
    except PasswordRefused as refused:
        return refused.fault
    if len(prepared) < PASSWORD_MIN:
        return "too_short"
    folded = prepared.casefold()
    if handle is not None and folded in (handle.casefold(), f"@{handle}".casefold()):
        return "is_handle"
    addresses = [name.casefold() for name in (email, phone) if name]
    if email:
        addresses.append(email.casefold().rpartition("@")[0])
    if folded in addresses:
        return "is_address"
    if folded in _COMMON or _stem(folded) in _COMMON or len(set(folded)) == 1:
        return "common"
    return None


def _stem(folded: str) -> str:
    """`password2024!` is `password` to a guesser."""
    return folded.rstrip("!?.*#").rstrip("0123456789")
