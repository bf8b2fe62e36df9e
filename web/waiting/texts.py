"""What the page in front of the viewer says while a study is recalled, in the languages of the panel."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class Texts(Struct, frozen=True):
    title: str
    text: str
    queued: str
    progress: str
    retried: str
    failed: str
    again: str
    scripts: str


TEXTS: Final = {
    "en": Texts(
        title="The study is being recalled",
        text="Its images are in the archive. The viewer opens by itself as soon as they are back.",
        queued="Waiting for its turn …",
        progress="{done} of {all} images are back",
        retried="It is tried again: {problem}",
        failed="It could not be recalled",
        again="Try again",
        scripts="This page needs JavaScript. So does the viewer.",
    ),
    "zh": Texts(
        title="正在调回检查",
        text="其影像在归档存储中。影像调回后，阅片器会自动打开。",
        queued="正在排队等候……",
        progress="已调回 {done} / {all} 幅影像",
        retried="正在重试：{problem}",
        failed="无法调回",
        again="重试",
        scripts="此页面和阅片器都需要 JavaScript。",
    ),
    "ru": Texts(
        title="Исследование возвращается из архива",
        text="Его снимки хранятся в архиве. Просмотр откроется сам, как только они вернутся.",
        queued="Ожидает своей очереди …",
        progress="Возвращено снимков: {done} из {all}",
        retried="Повторная попытка: {problem}",
        failed="Вернуть не удалось",
        again="Повторить",
        scripts="Этой странице, как и просмотру, нужен JavaScript.",
    ),
}
