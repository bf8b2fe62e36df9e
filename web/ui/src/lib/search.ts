/** The study list's state, which lives in the page's address: filters, order, columns. Pure. */

import type { Query } from "@/api/client";
import { dateRange, momentRange } from "./dates";

export const COLUMNS = [
  "patient_name",
  "patient_id",
  "patient_birth_date",
  "patient_sex",
  "study_date",
  "modalities",
  "study_description",
  "accession_number",
  "referring_physician_name",
  "institution_name",
  "number_of_series",
  "number_of_instances",
  "size_bytes",
  "received_at",
  "source",
  "availability",
  "study_instance_uid",
] as const;
export type Column = (typeof COLUMNS)[number];

export const DEFAULT_COLUMNS: readonly Column[] = [
  "patient_name",
  "patient_id",
  "patient_birth_date",
  "study_date",
  "modalities",
  "study_description",
  "accession_number",
  "number_of_instances",
  "received_at",
];

/** The API's parameter of each column that can be filtered. */
export const FILTERS: Readonly<Partial<Record<Column, string>>> = {
  patient_name: "patient_name",
  patient_id: "patient_id",
  patient_birth_date: "patient_birth_date",
  patient_sex: "patient_sex",
  study_date: "study_date",
  modalities: "modality",
  study_description: "study_description",
  accession_number: "accession_number",
  referring_physician_name: "referring_physician_name",
  institution_name: "institution",
  received_at: "received",
  source: "source",
  availability: "availability",
  study_instance_uid: "study_instance_uid",
};

const NAMES = new Set<string>([...Object.values(FILTERS), "q"]);
/** What has come in last is first, without being asked. */
export const DEFAULT_SORT = "-received_at";
/** The API orders by all other columns. */
export const UNSORTED: ReadonlySet<Column> = new Set(["study_instance_uid"]);
const LONGEST = 256;

export interface StudySearch {
  filters: Readonly<Record<string, string>>;
  sort: string;
  columns: readonly Column[];
}

export const NO_SEARCH: StudySearch = { filters: {}, sort: DEFAULT_SORT, columns: DEFAULT_COLUMNS };

function isColumn(name: string): name is Column {
  return (COLUMNS as readonly string[]).includes(name);
}

function isSortable(name: string): boolean {
  return isColumn(name) && !UNSORTED.has(name);
}

/** Reads an address's query. What it does not know or cannot be is left out: addresses are typed by people. */
export function parseSearch(query: Readonly<Record<string, unknown>>): StudySearch {
  const filters: Record<string, string> = {};
  for (const [name, value] of Object.entries(query))
    if (NAMES.has(name) && typeof value === "string" && value.trim()) filters[name] = value.slice(0, LONGEST);
  const sort = typeof query["sort"] === "string" ? query["sort"] : "";
  const columns = typeof query["columns"] === "string" ? query["columns"].split(",").filter(isColumn) : [];
  return {
    filters,
    sort: isSortable(sort.replace(/^-/, "")) ? sort : DEFAULT_SORT,
    columns: columns.length ? COLUMNS.filter((column) => columns.includes(column)) : DEFAULT_COLUMNS,
  };
}

/** The query of an address for a search; what is as usual is left out, so that addresses stay short. */
export function formatSearch(search: StudySearch): Record<string, string> {
  const query: Record<string, string> = {};
  for (const name of NAMES) {
    const value = search.filters[name];
    if (value?.trim()) query[name] = value;
  }
  if (search.sort !== DEFAULT_SORT) query["sort"] = search.sort;
  if (search.columns.join() !== DEFAULT_COLUMNS.join()) query["columns"] = search.columns.join(",");
  return query;
}

export function withFilter(search: StudySearch, name: string, value: string): StudySearch {
  const { [name]: _, ...others } = search.filters;
  return { ...search, filters: value.trim() ? { ...others, [name]: value } : others };
}

/** One way, the other way, and back to the latest first. */
export function nextSort(sort: string, column: Column): string {
  const first =
    column === "study_date" || column === "received_at" || column.startsWith("number_of") ? `-${column}` : column;
  const second = first === column ? `-${column}` : column;
  if (sort === first) return second;
  if (sort === second && column !== "received_at") return DEFAULT_SORT;
  return first;
}

export type Way = "ascending" | "descending";

/** Which way a list is sorted by a column; undefined: by another one. */
export function wayOf(sort: string, column: string): Way | undefined {
  if (sort.replace(/^-/, "") !== column) return undefined;
  return sort.startsWith("-") ? "descending" : "ascending";
}

/** The same for any list: its usual order, both ways, by the column that it is about. */
export function turnSort(sort: string, column: string, usual: string): string {
  if (sort === column) return `-${column}`;
  if (usual === `-${column}`) return sort === usual ? column : usual;
  return sort === `-${column}` ? usual : column;
}

/** The parameters of GET /studies. */
export function apiQuery(search: StudySearch, today = new Date()): Query {
  const { study_date, patient_birth_date, received, modality, availability, ...others } = search.filters;
  return {
    ...others,
    study_date: study_date && dateRange(study_date, today),
    patient_birth_date: patient_birth_date && dateRange(patient_birth_date, today),
    received: received && momentRange(received, today),
    modality: modality?.split(",").filter(Boolean),
    availability: availability?.split(",").filter(Boolean),
    sort: search.sort,
  };
}

/** A saved search keeps what was looked for, as text. */
export function toSaved(search: StudySearch): string {
  return new URLSearchParams(formatSearch(search)).toString();
}

export function fromSaved(query: string): StudySearch {
  return parseSearch(Object.fromEntries(new URLSearchParams(query)));
}
