import { Alert } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { useTopic } from "@/api/live";
import type { NodeStatus } from "@/api/types";
import { alertKey, alertsOf } from "@/lib/alerts";
import { When } from "@/ui/bits";
import { IconAlertTriangle, IconCircleX } from "@/ui/icons";

/** What somebody has to look at, as the server judges it; without a live connection what the status itself says. */
export function Alerts({ node }: { node: NodeStatus }) {
  const { t } = useTranslation();
  const alerts = alertsOf(useTopic("alerts").state);
  return (
    <div role="status" aria-label={t("system.alerts")} className="alerts">
      {alerts
        ? alerts.map((alert) => {
            const critical = alert.severity === "critical";
            return (
              <Alert
                key={alert.name}
                color={critical ? "red" : "orange"}
                icon={critical ? <IconCircleX size={18} /> : <IconAlertTriangle size={18} />}
                title={t(`alert.${alertKey(alert)}`, { slot: alert.worker, defaultValue: alert.what })}
              >
                {alert.detail}{" "}
                <span className="faint">
                  <When at={alert.since} />
                </span>
              </Alert>
            );
          })
        : troubles(node, t).map((text) => (
            <Alert key={text} color="orange" icon={<IconAlertTriangle size={18} />}>
              {text}
            </Alert>
          ))}
    </div>
  );
}

function troubles(node: NodeStatus, t: ReturnType<typeof useTranslation>["t"]): string[] {
  return node.workers.flatMap((worker) => {
    const what = [
      worker.accepting ? "" : t("system.not_accepting", { why: worker.why_not }),
      worker.indexing ? "" : t("system.not_indexing"),
      worker.recovery && t("system.recovery", { what: worker.recovery }),
    ];
    return what.filter(Boolean).map((text) => `${t("system.worker", { slot: worker.slot })}: ${text}`);
  });
}
