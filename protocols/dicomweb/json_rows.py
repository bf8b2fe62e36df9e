"""Answers of QIDO-RS: rows of text from the index as DICOM JSON (PS3.18 F.2), a column at a time.

One compiled encoder for each set of attributes. A result of a hundred rows is seventeen hundred values, so a value costs one
call into C and one format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from protocols.dataset.transfer_syntax import NUMBER_FORMATS
from protocols.dicomweb.json_values import number, person_name, quote

Column = Sequence[str]
_Encode = Callable[[Column], list[str]]
_ONE_VALUE: Final = frozenset({"LT", "ST", "UT", "UR"})
_NUMBERS: Final = frozenset({"IS", "DS", *NUMBER_FORMATS})


class RowEncoder:
    """Encodes rows whose values are the attributes ``tags``, in the row's order.

    tags:      each once
    vrs:       of those tags
    constants: tag -> JSON object that is the same in every row
    made:      tag -> what makes the attribute's JSON objects of all columns
    """

    def __init__(
        self,
        tags: Sequence[int],
        vrs: Mapping[int, str],
        *,
        constants: Mapping[int, str],
        made: Mapping[int, Callable[[Sequence[Column]], list[str]]],
    ) -> None:
        places = {tag: place for place, tag in enumerate(tags)}
        self._cells: list[Callable[[Sequence[Column]], list[str]]] = []
        before = "{"
        for tag in sorted({*places, *constants, *made}):
            name = f'{before}"{tag:08X}":'
            if tag in constants:
                before = f"{name}{constants[tag]},"
                continue
            if tag in made:
                self._cells.append(_after(name, made[tag]))
            else:
                self._cells.append(_of_column(places[tag], _column(name, vrs[tag])))
            before = ""
        # A constant at the end has no column behind it to go before.
        self._end = f",{before.rstrip(',')}}}" if before and self._cells else "}"
        if not self._cells:
            raise ValueError("a row without a column")

    def encode(self, rows: Sequence[Sequence[str]]) -> str:
        """JSON objects, a comma between them; "" for no rows."""
        if not rows:
            return ""
        columns = list(zip(*rows, strict=True))
        cells = [cell(columns) for cell in self._cells]
        end = self._end
        return ",".join([",".join(row) + end for row in zip(*cells, strict=True)])


def _of_column(place: int, encode: _Encode) -> Callable[[Sequence[Column]], list[str]]:
    return lambda columns: encode(columns[place])


def _after(
    name: str, make: Callable[[Sequence[Column]], list[str]]
) -> Callable[[Sequence[Column]], list[str]]:
    return lambda columns: [name + made for made in make(columns)]


def _column(name: str, vr: str) -> _Encode:
    """What encodes the values of one attribute, its name before each."""
    empty = f'{name}{{"vr":"{vr}"}}'
    head = f'{name}{{"vr":"{vr}","Value":['
    if vr == "SQ":
        whole = f'{name}{{"vr":"SQ","Value":'
        return lambda column: [f"{whole}{value}}}" if value else empty for value in column]
    of_one = _single(vr)
    if of_one is quote:
        return lambda column: [
            (
                f"{head}{quote(value)}]}}"
                if "\\" not in value
                else f"{head}{_several(value, quote)}]}}"
            ) if value else empty
            for value in column
        ]  # fmt: skip
    if vr in _ONE_VALUE:
        return lambda column: [f"{head}{quote(value)}]}}" if value else empty for value in column]
    return lambda column: [f"{head}{_several(value, of_one)}]}}" if value else empty for value in column]


def _single(vr: str) -> Callable[[str], str]:
    if vr in _ONE_VALUE:
        return str
    if vr == "PN":
        return person_name
    return number if vr in _NUMBERS else quote


def _several(value: str, of_one: Callable[[str], str]) -> str:
    if "\\" not in value:
        return of_one(value)
    return ",".join([of_one(each) if each else "null" for each in value.split("\\")])
