import { useState } from "react";
import { LATEST } from "@/lib/auditEvents";
import { AuditTable } from "./AuditTable";

/** What happened to a study. */
export function StudyAudit({ study }: { study: string }) {
  const [sort, setSort] = useState(LATEST);
  return <AuditTable path={`/studies/${encodeURIComponent(study)}/audit`} query={{}} sort={sort} onSort={setSort} />;
}
