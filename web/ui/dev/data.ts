/** Invented patients for working on the panel without a server. */

import type { Instance, Series, Study, StudyDetail } from "../src/api/types";

const NAMES = [
  "Smith^Eleanor^^Dr", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Иванова^Мария^Петровна", "王^小明=王^小明", "García Márquez^José", "O'Neill^Siobhán",
  "Müller^Jürgen^^Prof", "Kowalska^Zofia", "Hong^Gildong=洪^吉洞=홍^길동", "Петров^Алексей", "Andersson^Björn", "Dubois^Amélie", "李^娜=李^娜", "Nguyen^Thi^Mai",
]; // prettier-ignore
const KINDS: [string, string[], number][] = [
  ["CT Thorax/Abdomen with contrast", ["CT", "SR"], 512], ["MRI Brain without contrast", ["MR"], 284], ["Chest PA and lateral", ["DX"], 2],
  ["Abdominal ultrasound", ["US"], 46], ["PET/CT whole body", ["PT", "CT"], 1204], ["Mammography screening", ["MG"], 4], ["Knee left", ["CR"], 3],
  ["Coronary angiography", ["XA"], 18], ["MRI Lumbar spine", ["MR", "PR", "KO", "SEG"], 166],
]; // prettier-ignore
const SOURCES = ["CT_SOMATOM", "MR_VIDA", "DX_YSIO", "US_EPIQ", "admin"];
const PHYSICIANS = ["Weber^Anna", "Chen^Li=陈^丽", "Соколов^Игорь", ""];

const day = (back: number) => new Date(Date.now() - back * 86_400_000);
const dicom = (date: Date) => date.toISOString().slice(0, 10).replaceAll("-", "");
const pick = <T>(list: readonly T[], at: number): T => list[at % list.length] as T;

export const studies: Study[] = Array.from({ length: 2_483 }, (_, i) => {
  const [description, modalities, images] = pick(KINDS, i * 5 + Math.floor(i / 7));
  const taken = day(i / 9);
  return {
    study_instance_uid: `1.2.826.0.1.3680043.8.498.${10_000_000 + i * 7919}`,
    patient_id: `P${String(100_234 + ((i * 37) % 1900)).padStart(7, "0")}`,
    issuer_of_patient_id: "",
    patient_name: pick(NAMES, i * 11 + Math.floor(i / 5)),
    patient_birth_date: `${1931 + ((i * 13) % 85)}${String(1 + (i % 12)).padStart(2, "0")}${String(1 + (i % 28)).padStart(2, "0")}`,
    patient_sex: i % 17 === 0 ? "O" : i % 2 ? "F" : "M",
    study_date: dicom(taken),
    study_time: `${String(8 + (i % 11)).padStart(2, "0")}${String((i * 7) % 60).padStart(2, "0")}00`,
    accession_number: i % 9 ? `A${20_260_000 + i}` : "",
    study_description: description,
    study_id: String(i),
    modalities,
    referring_physician_name: pick(PHYSICIANS, i),
    institution_name: i % 4 ? "St. Mary Hospital" : "Городская больница № 2",
    number_of_series: modalities.length + 1,
    number_of_instances: images,
    size_bytes: images * 531_000,
    received_at: new Date(Date.now() - i * 2_300_000 - 90_000).toISOString(),
    source: pick(SOURCES, i),
    availability: i % 23 === 5 ? "NEARLINE" : i % 31 === 8 ? "OFFLINE" : "ONLINE",
  };
});

export function detail(uid: string): StudyDetail | undefined {
  const study = studies.find((one) => one.study_instance_uid === uid);
  if (!study) return undefined;
  const series: Series[] = [...study.modalities, study.modalities[0] ?? "OT"].map((modality, at) => ({
    series_instance_uid: `${uid}.${at + 1}`,
    modality,
    series_number: String(at + 1),
    series_description: ["Thorax 1.0 B31f", "Lung 1.0 B70f", "Coronal MPR", "Evidence documents"][at] ?? "",
    protocol_name: "",
    series_date: study.study_date,
    series_time: study.study_time,
    body_part_examined: "CHEST",
    number_of_instances: Math.ceil(study.number_of_instances / study.number_of_series),
    size_bytes: Math.ceil(study.size_bytes / study.number_of_series),
    received_at: study.received_at,
    institution_name: study.institution_name,
    station_name: "CTAWP1",
    manufacturer: "SIEMENS",
    source: study.source,
  }));
  return { ...study, series };
}

export function instances(series: string, count: number): Instance[] {
  return Array.from({ length: count }, (_, at) => ({
    sop_instance_uid: `${series}.${at + 1}`,
    sop_class_uid: "1.2.840.10008.5.1.4.1.1.2",
    sop_class_name: "CT Image Storage",
    instance_number: String(at + 1),
    transfer_syntax_uid: "1.2.840.10008.1.2.1",
    transfer_syntax_name: "Explicit VR Little Endian",
    rows: "512",
    columns: "512",
    number_of_frames: "",
    size_bytes: 531_204,
    received_at: new Date().toISOString(),
    source: "CT_SOMATOM",
  }));
}
