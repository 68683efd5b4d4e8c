"""What messages without a code say to the owner of an account, in each language; pure.

They carry no link: somebody who learns to click on mail about their password is somebody's prey.
"""

# ruff: noqa: RUF001  (Arabic and Chinese punctuation is meant)

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from tertulia.domain.letters import Language, Letter, brand_fault, pick_language

NoticeKind = Literal["known", "password"]
"""`known`: somebody signed up with an address that has an account.  `password`: it was changed."""

_WORDINGS: Final[Mapping[tuple[NoticeKind, Language], tuple[str, str, str]]] = {
    ("known", "en"): (
        "You already have a {brand} account",
        "Somebody, perhaps you, tried to sign up for {brand} with this address. It already has an account, "
        "so nothing was changed.\n\n"
        "If it was you, sign in, or ask for a new password if you have forgotten yours.\n\n"
        "If it was not you, you need not do anything.\n",
        "{brand}: this number already has an account. Sign in, or ask for a new password.",
    ),
    ("password", "en"): (
        "Your {brand} password was changed",
        "The password of your {brand} account was changed, and the other devices were signed out.\n\n"
        "If it was not you, ask for a new password at once.\n",
        "{brand}: your password was changed. Not you? Ask for a new password at once.",
    ),
    ("known", "es"): (
        "Ya tienes una cuenta de {brand}",
        "Alguien, quizá tú, ha intentado registrarse en {brand} con esta dirección. Ya tiene una cuenta, "
        "así que no ha cambiado nada.\n\n"
        "Si has sido tú, inicia sesión, o pide una contraseña nueva si has olvidado la tuya.\n\n"
        "Si no has sido tú, no tienes que hacer nada.\n",
        "{brand}: este numero ya tiene una cuenta. Inicia sesion o pide una clave nueva.",
    ),
    ("password", "es"): (
        "Tu contraseña de {brand} ha cambiado",
        "La contraseña de tu cuenta de {brand} ha cambiado y se ha cerrado la sesión en los demás "
        "dispositivos.\n\n"
        "Si no has sido tú, pide una contraseña nueva cuanto antes.\n",
        "{brand}: tu clave ha cambiado. Si no eres tu, pide una clave nueva cuanto antes.",
    ),
    ("known", "ar"): (
        "لديك حساب بالفعل في {brand}",
        "حاول شخص ما، ربما أنت، التسجيل في {brand} بهذا العنوان. للعنوان حساب بالفعل، لذلك لم يتغير شيء.\n\n"
        "إذا كنت أنت، فسجّل الدخول، أو اطلب كلمة مرور جديدة إذا نسيت كلمة مرورك.\n\n"
        "إذا لم تكن أنت، فلا داعي لفعل أي شيء.\n",
        "{brand}\nلهذا الرقم حساب بالفعل. سجّل الدخول.",
    ),
    ("password", "ar"): (
        "تم تغيير كلمة المرور في {brand}",
        "تم تغيير كلمة المرور لحسابك في {brand}، وتم تسجيل الخروج من الأجهزة الأخرى.\n\n"
        "إذا لم تكن أنت، فاطلب كلمة مرور جديدة فورًا.\n",
        "{brand}\nتم تغيير كلمة المرور. لست أنت؟ اطلب كلمة جديدة.",
    ),
    ("known", "zh"): (
        "您已有 {brand} 账户",
        "有人（可能是您本人）尝试用此地址注册 {brand}。此地址已有账户，因此没有任何更改。\n\n"
        "如果是您本人，请直接登录；如果忘记了密码，请申请重置密码。\n\n"
        "如果不是您本人，请忽略此消息。\n",
        "【{brand}】此号码已有账户，请直接登录或重置密码。",
    ),
    ("password", "zh"): (
        "您的 {brand} 密码已更改",
        "您的 {brand} 账户密码已更改，其他设备已退出登录。\n\n如果不是您本人操作，请立即重置密码。\n",
        "【{brand}】您的密码已更改。非本人操作请立即重置密码。",
    ),
}


def compose_notice(kind: NoticeKind, *, language: str | None, brand: str) -> Letter:
    """Write the notice in the language nearest to the tag.

    Raises ValueError when the brand cannot stand in a letter."""
    if fault := brand_fault(brand):
        raise ValueError(fault)
    picked = pick_language(language)
    subject, text, sms = (part.format(brand=brand.strip()) for part in _WORDINGS[kind, picked])
    return Letter(language=picked, subject=subject, text=text, sms=sms)
