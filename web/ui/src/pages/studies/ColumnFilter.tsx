import { useTranslation } from "react-i18next";
import { FILTERS, withFilter, type Column, type StudySearch } from "@/lib/search";
import { AVAILABILITIES } from "@/ui/Availability";
import { ChoiceFilter } from "@/ui/ChoiceFilter";
import { DateFilter } from "@/ui/DateFilter";
import { MODALITIES } from "@/ui/Modality";
import { TextFilter } from "@/ui/TextFilter";

interface Props {
  column: Column;
  search: StudySearch;
  onSearch: (search: StudySearch) => void;
}

/** The field under a column's heading. */
export function ColumnFilter({ column, search, onSearch }: Props) {
  const { t } = useTranslation();
  const name = FILTERS[column];
  if (!name) return null;
  const props = {
    label: t("studies.filter", { column: t(`column.${column}`) }),
    value: search.filters[name] ?? "",
    onChange: (value: string) => onSearch(withFilter(search, name, value)),
  };
  switch (column) {
    case "study_date":
    case "received_at":
      return <DateFilter {...props} />;
    case "patient_birth_date":
      return <DateFilter {...props} presets={false} />;
    case "modalities":
      return <ChoiceFilter {...props} choices={MODALITIES.map((modality) => ({ value: modality, label: modality }))} />;
    case "availability":
      return (
        <ChoiceFilter
          {...props}
          choices={AVAILABILITIES.map((value) => ({ value, label: t(`storage.availability.${value}`) }))}
        />
      );
    case "patient_sex":
      return (
        <ChoiceFilter
          {...props}
          single
          choices={["F", "M", "O"].map((sex) => ({ value: sex, label: t(`sex.${sex}`) }))}
        />
      );
    default:
      return <TextFilter {...props} />;
  }
}
