"""What the page of a share link says, in the languages of the panel."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class Texts(Struct, frozen=True):
    title: str
    text: str
    asks: str
    label: str
    open: str
    wrong: str
    slow: str
    gone: str
    later: str


_ENGLISH: Final = Texts(
    title="Shared study",
    text="Somebody shares a study with you.",
    asks="This link needs a password. You have it from whoever sent you the link.",
    label="Password",
    open="Open the study",
    wrong="That is not the password.",
    slow="Too many wrong passwords. Wait a moment and try again.",
    gone="This link has expired or was revoked. Ask whoever sent it for a new one.",
    later="The archive is busy. Try again in a moment.",
)
TEXTS: Final = {
    "en": _ENGLISH,
    "zh": Texts(
        title="共享的检查",
        text="有人与您共享了一项检查。",
        asks="此链接需要密码。密码由发送链接的人提供。",
        label="密码",
        open="打开检查",
        wrong="密码不正确。",
        slow="密码错误次数过多。请稍候再试。",
        gone="此链接已过期或已被撤销。请向发送者索取新链接。",
        later="档案系统繁忙。请稍后再试。",
    ),
    "ru": Texts(
        title="Исследование по ссылке",
        text="Вам открыли доступ к исследованию.",
        asks="Для этой ссылки нужен пароль. Он есть у того, кто прислал вам ссылку.",
        label="Пароль",
        open="Открыть исследование",
        wrong="Неверный пароль.",
        slow="Слишком много неверных паролей. Подождите немного и попробуйте снова.",
        gone="Срок действия ссылки истёк, или она отозвана. Попросите у отправителя новую.",
        later="Архив занят. Попробуйте ещё раз чуть позже.",
    ),
}
_MOST_RANGES: Final = 32


def language_of(accepted: str) -> str:
    """The language of ours that an Accept-Language header likes best (RFC 9110 section 12.5.4); English if none."""
    best, found = 0.0, "en"
    for part in accepted.split(",", _MOST_RANGES)[:_MOST_RANGES]:
        tag, _, parameter = part.partition(";")
        language = tag.strip().partition("-")[0].lower()
        weight = _weight(parameter)
        if language in TEXTS and weight > best:
            best, found = weight, language
    return found


def _weight(parameter: str) -> float:
    name, equals, text = parameter.strip().partition("=")
    if not equals or name.strip().lower() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
