import type { TFunction } from "i18next";
import type { ReactNode } from "react";
import type { Study } from "@/api/types";
import { clock, fromDicom } from "@/lib/dates";
import { bytes, day, whole } from "@/lib/format";
import type { Column } from "@/lib/search";
import { Availability } from "@/ui/Availability";
import { CopyButton, PersonName, When } from "@/ui/bits";
import { Modalities } from "@/ui/Modality";

export interface ColumnLook {
  /** Width in pixels; the description takes what is left. */
  width: number;
  numeric?: boolean;
  cell: (study: Study, language: string, t: TFunction) => ReactNode;
}

export const LOOKS: Readonly<Record<Column, ColumnLook>> = {
  patient_name: { width: 184, cell: (study) => <PersonName value={study.patient_name} /> },
  patient_id: {
    width: 122,
    cell: (study, _, t) => (
      <span className="copyable">
        <span className="clip" title={study.issuer_of_patient_id || study.patient_id}>
          {study.patient_id}
        </span>
        {study.patient_id && <CopyButton value={study.patient_id} label={t("studies.copy_patient_id")} />}
      </span>
    ),
  },
  patient_birth_date: { width: 100, cell: (study, language) => day(fromDicom(study.patient_birth_date), language) },
  patient_sex: {
    width: 76,
    cell: (study, _, t) => (study.patient_sex ? t(`sex.${study.patient_sex}`, study.patient_sex) : ""),
  },
  study_date: {
    width: 138,
    cell: (study, language) => (
      <>
        {day(fromDicom(study.study_date), language)} <span className="faint">{clock(study.study_time)}</span>
      </>
    ),
  },
  modalities: { width: 112, cell: (study) => <Modalities of={study.modalities} /> },
  study_description: { width: 150, cell: (study) => study.study_description },
  accession_number: { width: 114, cell: (study) => study.accession_number },
  referring_physician_name: {
    width: 170,
    cell: (study) => study.referring_physician_name && <PersonName value={study.referring_physician_name} />,
  },
  institution_name: { width: 160, cell: (study) => study.institution_name },
  number_of_series: { width: 92, numeric: true, cell: (study, language) => whole(study.number_of_series, language) },
  number_of_instances: {
    width: 78,
    numeric: true,
    cell: (study, language) => whole(study.number_of_instances, language),
  },
  size_bytes: { width: 96, numeric: true, cell: (study, language) => bytes(study.size_bytes, language) },
  received_at: { width: 112, cell: (study) => <When at={study.received_at} /> },
  source: { width: 130, cell: (study) => <span className="mono clip">{study.source}</span> },
  availability: { width: 118, cell: (study) => <Availability of={study.availability} /> },
  study_instance_uid: {
    width: 260,
    cell: (study, _, t) => (
      <span className="copyable">
        <span className="mono clip" title={study.study_instance_uid}>
          {study.study_instance_uid}
        </span>
        <CopyButton value={study.study_instance_uid} label={t("studies.copy_uid")} />
      </span>
    ),
  },
};
