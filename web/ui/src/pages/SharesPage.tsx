import { useTranslation } from "react-i18next";
import { PageHead } from "@/ui/bits";
import { ShareTable } from "./ShareTable";

export function SharesPage() {
  const { t } = useTranslation();
  return (
    <div className="page">
      <PageHead title={t("nav.shares")} note={t("share.text")} />
      <ShareTable />
    </div>
  );
}
