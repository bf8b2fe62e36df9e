import { Spotlight, spotlight, type SpotlightActionData } from "@mantine/spotlight";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useDebouncedValue } from "@mantine/hooks";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useSession } from "@/api/session";
import type { Page, Study } from "@/api/types";
import { fromDicom } from "@/lib/dates";
import { day } from "@/lib/format";
import { personName } from "@/lib/names";
import { IconKeyboard, IconPhoto, IconSearch } from "@/ui/icons";
import { PAGES } from "./pages";

export const openPalette = (): void => spotlight.open();
const FOUND = 6;

/** Ctrl+K: pages and, from two letters on, studies. */
export function Palette({ onHelp }: { onHelp: () => void }) {
  const { t, i18n } = useTranslation();
  const { may } = useSession();
  const navigate = useNavigate();
  const [query, setQuery] = useState("");
  const [asked] = useDebouncedValue(query.trim(), 200);
  const found = useQuery({
    queryKey: ["palette", asked],
    queryFn: ({ signal }) => api.get<Page<Study>>("/studies", { q: asked, limit: FOUND }, signal),
    enabled: asked.length > 1 && may("study.search"),
  });
  const pages: SpotlightActionData[] = [
    ...PAGES.filter((page) => !page.action || may(page.action)).map(({ to, label, icon: Icon }) => ({
      id: to,
      label: t(label),
      leftSection: <Icon size={18} stroke={1.6} />,
      onClick: () => void navigate({ to }),
    })),
    { id: "help", label: t("help.title"), leftSection: <IconKeyboard size={18} stroke={1.6} />, onClick: onHelp },
  ].filter(({ label }) => label.toLocaleLowerCase().includes(query.trim().toLocaleLowerCase()));
  const studies: SpotlightActionData[] = (asked.length > 1 ? (found.data?.items ?? []) : []).map((study) => ({
    id: study.study_instance_uid,
    label: personName(study.patient_name, i18n.language).main || study.patient_id || t("no_name"),
    description: [
      study.patient_id,
      day(fromDicom(study.study_date), i18n.language),
      study.modalities.join(" "),
      study.study_description,
    ]
      .filter(Boolean)
      .join(" · "),
    leftSection: <IconPhoto size={18} stroke={1.6} />,
    onClick: () => void navigate({ to: "/study/$study", params: { study: study.study_instance_uid } }),
  }));
  return (
    <Spotlight
      actions={[
        { group: t("palette.pages"), actions: pages },
        { group: t("nav.studies"), actions: studies },
      ]}
      query={query}
      onQueryChange={setQuery}
      filter={(_, actions) => actions}
      nothingFound={t("palette.nothing")}
      shortcut={["mod + K"]}
      lockScroll={false}
      scrollable
      maxHeight={420}
      searchProps={{
        leftSection: <IconSearch size={18} />,
        placeholder: t("palette.placeholder"),
        "aria-label": t("palette.open"),
      }}
    />
  );
}
