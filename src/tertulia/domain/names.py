"""Names by which people are found: handles, e-mail addresses and phone numbers.

Each function takes what a person typed and returns the one form that is stored, compared and looked
up.  All are idempotent: a normal form is its own normal form.  Messages go only to the normal form,
never to what was typed, so that two spellings which are equal here can never reach two mailboxes.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, Literal, get_args

import idna
import phonenumbers
from precis_i18n import get_profile

from tertulia.domain.ulid import is_ulid

NameReason = Literal[
    "empty",
    "too_short",
    "too_long",
    "characters",
    "edge",
    "mixed_scripts",
    "reserved",
    "email_syntax",
    "email_domain",
    "phone_syntax",
    "phone_region",
    "phone_number",
]
"""Why a name was refused; the set is closed and its members never change their meaning."""

NAME_REASONS: Final[tuple[str, ...]] = get_args(NameReason)

HANDLE_MIN: Final = 2
HANDLE_MAX: Final = 32
EMAIL_MAX_OCTETS: Final = 254
LOCAL_MAX_OCTETS: Final = 64
PHONE_MAX_INPUT: Final = 64

# Enforcement costs time that grows with the text; nothing this long can become a handle.
_HANDLE_MAX_INPUT: Final = 4 * HANDLE_MAX

_PUNCTUATION: Final = frozenset("_.-")

# Compared after punctuation is taken out, so that `no-reply`, `no_reply` and `noreply` are one.
_RESERVED_WORDS: Final = """
abuse admin administrator administrators admins all anonymous anyone api away bot bots channel
everybody everyone false group help helpdesk here hostmaster info mailerdaemon me moderation
moderator moderators myself nobody none noreply null official operator postmaster root search
security self server service settings signin signout signup staff superuser support sysadmin
system team tertulia true undefined unknown void webmaster you
"""
_RESERVED: Final = frozenset(_RESERVED_WORDS.split())

# Scripts whose letters are mistaken for each other.  Words that mix them are how one person poses
# as another (RFC 8264 §12.5, Unicode TR 39 §5); mixtures such as Latin with Han stay possible.
_CONFUSABLE_SCRIPTS: Final = frozenset({"LATIN", "CYRILLIC", "GREEK", "COPTIC", "ARMENIAN", "CHEROKEE"})

_ATOM: Final = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PHONE_PUNCTUATION: Final = frozenset("+ ()-./\u00a0\u2010\u2011\u2012\u2013\uff0b")
_E164: Final = re.compile(r"\+[1-9][0-9]{1,14}")
_REGION: Final = re.compile(r"[A-Za-z]{2}")

_USERNAME: Final = get_profile("UsernameCaseMapped")


class NameRefused(ValueError):
    """A text that cannot be a name of its kind; `reason` says why, from `NameReason`."""

    def __init__(self, reason: NameReason) -> None:
        super().__init__(reason)
        self.reason: NameReason = reason


def normalise_handle(text: str) -> str:
    """The stored form of a handle.

    PRECIS UsernameCaseMapped (RFC 8265 §3.3: width mapping, lower case, NFC, bidi rule), then
    narrower than it: 2 to 32 characters, letters with their marks, decimal digits and `_ . -`, no
    punctuation first or last, no mixture of scripts that look alike, and no reserved word or
    anything that looks like an id.

    Raises `NameRefused`: `empty`, `too_short`, `too_long`, `characters`, `edge`, `mixed_scripts`,
    `reserved`.
    """
    if not text:
        raise NameRefused("empty")
    if len(text) > _HANDLE_MAX_INPUT:
        raise NameRefused("too_long")
    try:
        handle = _USERNAME.enforce(text)
    except UnicodeError as error:
        raise NameRefused("characters") from error
    if len(handle) < HANDLE_MIN:
        raise NameRefused("too_short")
    if len(handle) > HANDLE_MAX:
        raise NameRefused("too_long")
    if handle[0] in _PUNCTUATION or handle[-1] in _PUNCTUATION:
        raise NameRefused("edge")
    if not _is_word(handle):
        raise NameRefused("characters")
    if _mixes_scripts(handle):
        raise NameRefused("mixed_scripts")
    bare = "".join(char for char in handle if char not in _PUNCTUATION)
    # A handle in the form of an id could be taken for somebody's id.
    if bare in _RESERVED or is_ulid(handle):
        raise NameRefused("reserved")
    return handle


def _is_word(handle: str) -> bool:
    """True when the text holds only letters, marks that follow a letter, digits and punctuation."""
    previous = ""
    for char in handle:
        category = unicodedata.category(char)
        if category[0] == "M":
            if previous not in ("L", "M"):
                return False
        elif category[0] != "L" and category != "Nd" and char not in _PUNCTUATION:
            return False
        previous = category[0]
    return True


def _mixes_scripts(handle: str) -> bool:
    seen: set[str] = set()
    for char in handle:
        if unicodedata.category(char)[0] == "L":
            script = unicodedata.name(char, "").partition(" ")[0]
            if script in _CONFUSABLE_SCRIPTS:
                seen.add(script)
    return len(seen) > 1


def normalise_email(text: str) -> str:
    """The stored form of an e-mail address: `local@domain`, plain ASCII, at most 254 octets.

    Only the plain form is taken: a dot-atom (RFC 5321 §4.1.2) of at most 64 octets and a domain
    name of at least two labels (§4.5.3.1, RFC 1035 §2.3.4); no quoted strings, comments, address
    literals or characters outside of ASCII before the `@`.  Nothing that passes can hold a line
    break, a space, a double quote or a bracket, so it can stand in a header or an envelope as it
    is.  The domain is mapped by UTS 46 and written as A-labels (RFC 5891); the local part is folded
    to lower case, which RFC 5321 §2.4 leaves to the receiving host, since two people who differ
    only by case are one in practice.  Spaces around the address are dropped.

    Raises `NameRefused`: `empty`, `too_long`, `email_syntax`, `email_domain`.
    """
    address = text.strip(" ")
    if not address:
        raise NameRefused("empty")
    if len(address) > EMAIL_MAX_OCTETS:
        raise NameRefused("too_long")
    local, at, domain = address.rpartition("@")
    # Before folding: characters such as KELVIN SIGN fold into ASCII letters and would give one
    # person's address to another.
    if not at or not local.isascii() or not _ATOM.fullmatch(local.lower()):
        raise NameRefused("email_syntax")
    if len(local) > LOCAL_MAX_OCTETS:
        raise NameRefused("too_long")
    normal = f"{local.lower()}@{_normalise_domain(domain)}"
    if len(normal) > EMAIL_MAX_OCTETS:
        raise NameRefused("too_long")
    return normal


def _normalise_domain(domain: str) -> str:
    try:
        ascii_form = idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
    except UnicodeError as error:
        raise NameRefused("email_domain") from error
    labels = ascii_form.split(".")
    if len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        raise NameRefused("email_domain")
    # A top-level label of digits only is an IPv4 address in disguise (RFC 3696 §2).
    if labels[-1].isdigit():
        raise NameRefused("email_domain")
    return ascii_form


def normalise_phone(text: str, region: str | None = None) -> str:
    """The stored form of a phone number: E.164, `+` and at most 15 digits.

    `region` is the two-letter code of the country in which a number without `+` is to be read.  A
    number is taken when its length is possible in its country's plan; whether it was handed out is
    not asked, because plans change faster than the tables about them.

    Raises `NameRefused`: `empty`, `too_long`, `phone_syntax`, `phone_region` (no or unknown region
    for a number without `+`), `phone_number` (not a possible number).
    """
    typed = text.strip(" ")
    if not typed:
        raise NameRefused("empty")
    if len(typed) > PHONE_MAX_INPUT:
        raise NameRefused("too_long")
    # Letters (vanity numbers), extensions and RFC 3966 parameters are not numbers to send to.
    if not all(char in _PHONE_PUNCTUATION or unicodedata.category(char) == "Nd" for char in typed):
        raise NameRefused("phone_syntax")
    international = typed[0] in "+\uff0b"
    if not international and (
        region is None
        or not _REGION.fullmatch(region)
        or phonenumbers.country_code_for_region(region.upper()) == 0
    ):
        raise NameRefused("phone_region")
    normal = _e164(typed, None if international or region is None else region.upper())
    # Lengths alone let some numbers pass that no plan has, whose zeros would be read another way the
    # next time; one person must not get two forms.
    if not _E164.fullmatch(normal) or _e164(normal, None) != normal:
        raise NameRefused("phone_number")
    return normal


def _e164(typed: str, region: str | None) -> str:
    try:
        number = phonenumbers.parse(typed, region)
    except phonenumbers.NumberParseException as error:
        raise NameRefused("phone_syntax") from error
    possible = phonenumbers.is_possible_number_with_reason(number)
    if possible != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise NameRefused("phone_number")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
