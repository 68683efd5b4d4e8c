"""What the messages that carry a code say, in each language; pure.

The short form avoids letters outside the GSM 7-bit alphabet where the language has a choice
(Spanish `clave`, not `código`), because one such letter halves what fits into an SMS.
"""

# ruff: noqa: RUF001  (Arabic and Chinese punctuation is meant)

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

LetterKind = Literal["verify", "reset"]
Language = Literal["en", "es", "ar", "zh"]

LANGUAGES: Final[tuple[Language, ...]] = ("en", "es", "ar", "zh")
MAX_BRAND = 40

_CODE = re.compile(r"[0-9A-Za-z-]{4,32}")
_JOINERS = "\u200c\u200d"  # several scripts and many emoji need them


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One message in one language: `subject` and `text` for e-mail, `sms` for a telephone."""

    language: Language
    subject: str
    text: str
    sms: str


class _Wording(msgspec.Struct, frozen=True):
    subject: str
    text: str
    sms: str


# The code stands on a line of its own: easy to copy, and in a right-to-left text the digits
# cannot be drawn into the brand name beside them.
_WORDINGS: Final[Mapping[tuple[LetterKind, Language], _Wording]] = {
    ("verify", "en"): _Wording(
        "Your {brand} verification code",
        "Enter this code to confirm your address with {brand}:\n\n"
        "{code}\n\n"
        "It is valid for {span}. Nobody from {brand} will ever ask you for it.\n\n"
        "If you did not sign up, you need not do anything.\n",
        "{brand}: your code is {code}. Valid for {span}. Do not share it.",
    ),
    ("reset", "en"): _Wording(
        "Reset your {brand} password",
        "Someone asked to set a new password for your {brand} account. "
        "If it was you, enter this code:\n\n"
        "{code}\n\n"
        "It is valid for {span}. Nobody from {brand} will ever ask you for it.\n\n"
        "If it was not you, you need not do anything: your password stays as it is.\n",
        "{brand}: your code for a new password is {code}. Valid for {span}. Not you? Ignore this.",
    ),
    ("verify", "es"): _Wording(
        "Tu código de verificación de {brand}",
        "Escribe este código para confirmar tu dirección en {brand}:\n\n"
        "{code}\n\n"
        "Vale durante {span}. Nadie de {brand} te lo pedirá nunca.\n\n"
        "Si no te has registrado, no tienes que hacer nada.\n",
        "{brand}: tu clave es {code}. Vale {span}. No la compartas.",
    ),
    ("reset", "es"): _Wording(
        "Restablece tu contraseña de {brand}",
        "Alguien ha pedido una contraseña nueva para tu cuenta de {brand}. "
        "Si has sido tú, escribe este código:\n\n"
        "{code}\n\n"
        "Vale durante {span}. Nadie de {brand} te lo pedirá nunca.\n\n"
        "Si no has sido tú, no tienes que hacer nada: tu contraseña no cambia.\n",
        "{brand}: tu clave para la nueva contraseña es {code}. Vale {span}. Si no eres tu, no hagas nada.",
    ),
    ("verify", "ar"): _Wording(
        "رمز التحقق الخاص بك في {brand}",
        "أدخل هذا الرمز لتأكيد عنوانك في {brand}:\n\n"
        "{code}\n\n"
        "الرمز صالح لمدة {span}. لن يطلبه منك أحد من {brand} أبدًا.\n\n"
        "إذا لم تقم بالتسجيل، فلا داعي لفعل أي شيء.\n",
        "{brand}\nرمزك: {code}\nصالح {span}. لا تشاركه.",
    ),
    ("reset", "ar"): _Wording(
        "إعادة تعيين كلمة المرور في {brand}",
        "طلب شخص ما كلمة مرور جديدة لحسابك في {brand}. إذا كنت أنت، فأدخل هذا الرمز:\n\n"
        "{code}\n\n"
        "الرمز صالح لمدة {span}. لن يطلبه منك أحد من {brand} أبدًا.\n\n"
        "إذا لم تكن أنت، فلا داعي لفعل أي شيء: ستبقى كلمة مرورك كما هي.\n",
        "{brand}\nرمز كلمة المرور: {code}\nصالح {span}.",
    ),
    ("verify", "zh"): _Wording(
        "您的 {brand} 验证码",
        "请输入以下验证码，以确认您在 {brand} 的地址：\n\n"
        "{code}\n\n"
        "验证码在 {span}内有效。{brand} 的工作人员绝不会向您索要验证码。\n\n"
        "如果您没有注册，请忽略此邮件。\n",
        "【{brand}】验证码：{code}，{span}内有效，请勿告知他人。",
    ),
    ("reset", "zh"): _Wording(
        "重置您的 {brand} 密码",
        "有人请求为您的 {brand} 账户设置新密码。如果是您本人，请输入以下验证码：\n\n"
        "{code}\n\n"
        "验证码在 {span}内有效。{brand} 的工作人员绝不会向您索要验证码。\n\n"
        "如果不是您本人，请忽略此邮件，您的密码不会改变。\n",
        "【{brand}】重置密码验证码：{code}，{span}内有效。非本人操作请忽略。",
    ),
}


def pick_language(wanted: str | None) -> Language:
    """The language whose letters come closest to a BCP 47 tag (`es-MX`, `zh_Hant`); else English.

    Only the primary subtag counts (RFC 4647 section 3.4 lookup, cut to its last step).
    """
    primary = (wanted or "").replace("_", "-").split("-", 1)[0].lower()
    for language in LANGUAGES:
        if language == primary:
            return language
    return "en"


def brand_fault(brand: str) -> str | None:
    """Say why `brand` cannot stand in a letter, or None."""
    if not brand.strip() or len(brand) > MAX_BRAND:
        return f"brand name empty or longer than {MAX_BRAND} characters"
    if not all(c.isprintable() or c in _JOINERS for c in brand):
        return "brand name holds a line break or another character that does not print"
    return None


def _span(language: Language, minutes: int) -> str:
    """Name a number of minutes; the plural forms are those of CLDR."""
    if language == "zh":
        return f"{minutes} 分钟"
    if language == "ar":
        if minutes <= 2:
            return ("دقيقة واحدة", "دقيقتين")[minutes - 1]
        return f"{minutes} دقائق" if 3 <= minutes % 100 <= 10 else f"{minutes} دقيقة"
    word = "minuto" if language == "es" else "minute"
    return f"{minutes} {word}" if minutes == 1 else f"{minutes} {word}s"


def compose(kind: LetterKind, *, language: str | None, brand: str, code: str, minutes: int) -> Letter:
    """Write the letter `kind` with `code`, valid for `minutes`, in the language nearest to the tag.

    Raises ValueError when the brand, the code or the minutes cannot stand in a letter; nothing
    in them is ever taken for a placeholder or a line of its own.
    """
    if fault := brand_fault(brand):
        raise ValueError(fault)
    if _CODE.fullmatch(code) is None:
        raise ValueError("a code is 4 to 32 letters, digits or hyphens")
    if not 1 <= minutes <= 10_080:
        raise ValueError("minutes must be between 1 and a week")
    picked = pick_language(language)
    wording, span = _WORDINGS[kind, picked], _span(picked, minutes)
    subject, text, sms = (
        part.format(brand=brand.strip(), code=code, span=span)
        for part in (wording.subject, wording.text, wording.sms)
    )
    return Letter(language=picked, subject=subject, text=text, sms=sms)
