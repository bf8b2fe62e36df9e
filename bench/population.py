"""Who is in the archive: studies as a pure function of run and number, so every right answer is known."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

_FAMILIES = """
ABDULLAH ADLER ALVAREZ ANDERSON ARSLAN BAKER BAUER BERG BIANCHI BROWN CARVALHO CASTRO CHEN CLARK COHEN
COSTA DAHL DIALLO DUBOIS DURAND EVANS FERRARI FISCHER FLORES FOURNIER GARCIA GOMEZ GREEN GUPTA HALL HANSEN
HAYASHI HERNANDEZ HOFFMANN HUANG HUGHES IBRAHIM IVANOV JANSEN JENSEN JOHNSON JONES KAPLAN KAYA KELLY KHAN
KIM KLEIN KOVACS KUMAR LARSEN LEE LEROY LEWIS LIU LOPEZ MARINO MARTIN MEYER MOREAU MORGAN MUELLER NAKAMURA
NELSON NGUYEN NOVAK OKAFOR OLSEN ORTIZ PARK PATEL PEREIRA PETROV POPESCU RAMOS REYES RICCI ROBERTS ROSSI
ROUX SANTOS SATO SCHMIDT SHARMA SILVA SINGH SMIRNOV SMITH SUZUKI TANAKA TAYLOR TORRES TRAN TURNER VARGA
VASQUEZ VOLKOV WAGNER WALKER WANG WEBER WHITE WILSON WONG WOOD WRIGHT YAMADA YILMAZ YOUNG ZHANG ZHOU
ZIMMERMANN
"""
_GIVEN = """
ADAM AISHA ALICE ANDREI ANNA BEN BORIS CARLA CHLOE DANIEL DIEGO ELENA EMMA ERIK FATIMA FELIX GRACE HANA
HUGO INES IVAN JAMES JANA JUAN KARIM KATE LARS LEA LEO LINA LUCA MARIA MARK MEI MIA NADIA NINA NOAH OLGA
OMAR PAUL PETER RAVI ROSA SAM SARA SOFIA TARIQ THEO TOM VERA VICTOR WEI YUKI ZOE
"""
FAMILY_NAMES: Final = tuple(_FAMILIES.split())
GIVEN_NAMES: Final = tuple(_GIVEN.split())
FIRST_DAY: Final = date(2014, 1, 1)
DAYS: Final = 3652
NAME_PREFIX: Final = "SMI"
_MULTIPLIER, _MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Study:
    """One study of one patient. UIDs are 64 characters long, the most that DICOM allows."""

    number: int
    patient_name: str
    patient_id: str
    study_date: str
    accession_number: str
    study_uid: str
    series_uid: str


@dataclass(frozen=True, slots=True)
class Run:
    """All studies of one run of the bench. Two runs share no UID and no PatientID.

    uid_root:  ``2.25.`` and a 39-digit UUID
    tag:       6 characters that begin every PatientID and AccessionNumber
    """

    uid_root: str
    tag: str

    @classmethod
    def new(cls) -> Run:
        """A run that nobody has made before."""
        letters = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
        digits = 10**38 + secrets.randbelow((1 << 128) - 10**38)
        return cls(f"2.25.{digits}", "".join(secrets.choice(letters) for _ in range(6)))

    @property
    def name(self) -> str:
        """One word from which ``named`` makes this run again."""
        return f"{self.uid_root}/{self.tag}"

    @classmethod
    def named(cls, name: str) -> Run:
        """Raises ValueError if no run has this name."""
        uid_root, separator, tag = name.partition("/")
        if not separator or len(uid_root) != 44 or len(tag) != 6:
            raise ValueError(f"{name}: not the name of a run")
        return cls(uid_root, tag)

    def uid(self, kind: int, study: int, instance: int = 0) -> str:
        """kind: 1 study, 2 series, 3 instance."""
        return f"{self.uid_root}.{kind}{study:09d}{instance:09d}"

    def instance_uid(self, study: int, instance: int) -> str:
        """SOP Instance UID of an instance of a study."""
        return self.uid(3, study, instance)

    def study(self, number: int) -> Study:
        """The number-th study, 0 ≤ number < 10⁹."""
        mixed = ((number + 1) * _MULTIPLIER) & _MASK
        mixed ^= mixed >> 29
        family = FAMILY_NAMES[(mixed >> 8) % len(FAMILY_NAMES)]
        given = GIVEN_NAMES[(mixed >> 24) % len(GIVEN_NAMES)]
        day = FIRST_DAY + timedelta(days=(mixed >> 40) % DAYS)
        return Study(
            number=number,
            patient_name=f"{family}^{given}",
            patient_id=f"{self.tag}{number:010d}",
            study_date=f"{day:%Y%m%d}",
            accession_number=f"{self.tag}{number:010d}",
            study_uid=self.uid(1, number),
            series_uid=self.uid(2, number),
        )


def date_ranges(studies: int, hits: int, count: int) -> list[str]:
    """``count`` date ranges (DA range matching) that hold about ``hits`` of so many studies each."""
    width = max(1, min(DAYS, round(hits * DAYS / max(1, studies))))
    ranges = []
    for index in range(count):
        first = FIRST_DAY + timedelta(days=(index * 7919) % (DAYS - width + 1))
        ranges.append(f"{first:%Y%m%d}-{first + timedelta(days=width - 1):%Y%m%d}")
    return ranges
