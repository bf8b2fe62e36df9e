import { Tooltip } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { useTopic } from "@/api/live";
import { useSession } from "@/api/session";
import { alertsOf } from "@/lib/alerts";
import { IconAlertTriangle } from "@/ui/icons";

const SYSTEM: string = "/system";

/** How much needs attention, on every page; what it is, is on the system's. */
export function AlertsBadge() {
  const { t } = useTranslation();
  const sees = useSession().may("system.read");
  const alerts = alertsOf(useTopic("alerts", sees).state);
  const [worst] = alerts ?? [];
  return (
    <span role="status">
      {worst && (
        <Tooltip label={t("system.alerts")}>
          <Link to={SYSTEM} className="alerts-badge" data-severity={worst.severity}>
            <IconAlertTriangle size={15} aria-hidden />
            {t("system.alert_count", { count: alerts?.length ?? 0 })}
          </Link>
        </Tooltip>
      )}
    </span>
  );
}
