import { useTranslation } from "react-i18next";
import type { PolicyPreview } from "@/api/types";
import { fromDicom } from "@/lib/dates";
import { bytes, day, whole } from "@/lib/format";
import { Availability } from "@/ui/Availability";
import { PersonName, When } from "@/ui/bits";
import { ListTable } from "@/ui/ListTable";
import { Modalities } from "@/ui/Modality";

const SHOWN = 10;

/** What a rule would do now: how much, and the studies that it would take first. */
export function PreviewResult({ preview }: { preview: PolicyPreview }) {
  const { t, i18n } = useTranslation();
  if (preview.studies === 0) return <p className="outcome-line">{t("storage.policy.would_none")}</p>;
  return (
    <>
      <p className="outcome-line">
        <b>
          {t("storage.policy.would", {
            count: preview.studies,
            shown: whole(preview.studies, i18n.language),
            size: bytes(preview.size_bytes, i18n.language),
          })}
        </b>{" "}
        <span className="faint">{t("storage.policy.dry_run_note")}</span>
      </p>
      <ListTable
        label={t("storage.policy.first")}
        items={preview.some.slice(0, SHOWN)}
        rowKey={(study) => study.study_instance_uid}
        columns={[
          {
            title: t("column.patient_name"),
            cell: (study) => (
              <a href={`/study/${encodeURIComponent(study.study_instance_uid)}`} target="_blank" rel="noopener">
                <PersonName value={study.patient_name || study.patient_id} />
              </a>
            ),
          },
          { title: t("column.study_date"), cell: (study) => day(fromDicom(study.study_date), i18n.language) },
          { title: t("column.modalities"), cell: (study) => <Modalities of={study.modalities} /> },
          {
            title: t("column.size_bytes"),
            numeric: true,
            cell: (study) => bytes(study.size_bytes, i18n.language),
          },
          {
            title: t("storage.policy.last_use"),
            cell: (study) => <When at={study.accessed_at ?? study.received_at} />,
          },
          { title: t("column.availability"), cell: (study) => <Availability of={study.availability} /> },
        ]}
      />
    </>
  );
}
