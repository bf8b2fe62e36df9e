import { useTranslation } from "react-i18next";
import type { PolicyRule } from "@/api/types";
import { bytes } from "@/lib/format";
import { DAYS, ONLINE, SIZES, WORDS } from "@/lib/storage";

/** A store as people call it. */
export function useStoreName(): (store: string) => string {
  const { t } = useTranslation();
  return (store) => (store === ONLINE ? t("storage.online") : store);
}

/** What a rule does, in a few words. */
export function Does({ rule }: { rule: PolicyRule }) {
  const { t } = useTranslation();
  const name = useStoreName();
  const told = t(`storage.policy.does.${rule.action}`, { from: name(rule.from_store), to: name(rule.to_store) });
  return (
    <>
      {told}
      {rule.form !== "plain" && <span className="faint"> · {t(`storage.policy.forms.${rule.form}`, rule.form)}</span>}
    </>
  );
}

/** Which studies it names, condition by condition. */
export function Conditions({ rule: { when, retention_days } }: { rule: PolicyRule }) {
  const { t, i18n } = useTranslation();
  const says = (name: string, value: number | string) => t(`storage.policy.says.${name}`, { value });
  const parts = [
    ...WORDS.filter((name) => when[name].length).map((name) => {
      const words = when[name].join(", ");
      return name === "without_labels" ? says(name, words) : words;
    }),
    ...DAYS.filter((name) => when[name]).map((name) => says(name, when[name])),
    ...SIZES.filter((name) => when[name]).map((name) => says(name, bytes(when[name], i18n.language))),
    ...(when.online_free_below_percent ? [says("online_free_below_percent", when.online_free_below_percent)] : []),
    ...(retention_days ? [says("retention_days", retention_days)] : []),
  ];
  return <span className="faint">{parts.length ? parts.join(" · ") : t("storage.policy.every")}</span>;
}
