import { Button } from "@mantine/core";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useEffect } from "react";
import { useTranslation } from "react-i18next";
import { viewerUrl } from "@/api/client";
import { useStudy, useStudyStorage } from "@/api/storage";
import { isRecall, isUnderWay, lastRecall, mustBeRecalled, shown } from "@/lib/storage";
import { Failure, PersonName, Waiting } from "@/ui/bits";
import { IconArchive } from "@/ui/icons";
import { HowFar } from "../storage/MoveTable";
import { useRecall } from "./RecallBanner";

const route = getRouteApi("/inside/recall/$study");

/** Has a study recalled, shows how far that is, and goes on to the viewer once its images are there. */
export function RecallPage() {
  const { study } = route.useParams();
  const { series } = route.useSearch();
  const { t } = useTranslation();
  const known = useStudy(study).data;
  const storage = useStudyStorage(study);
  const order = useRecall(study);
  const { availability, moves } = storage.data ?? {};
  const away = availability !== undefined && mustBeRecalled(availability);
  const there = availability !== undefined && !away;
  const underWay = moves?.find((move) => isRecall(move) && isUnderWay(move));
  const { isIdle, mutate } = order;
  useEffect(() => {
    if (away && !underWay && isIdle) mutate();
  }, [away, underWay, isIdle, mutate]);
  useEffect(() => {
    if (there) location.replace(viewerUrl(study, series));
  }, [there, study, series]);
  if (storage.isError) return <Failure error={storage.error} retry={() => void storage.refetch()} />;
  const last = storage.data && lastRecall(storage.data);
  const failed = order.isSuccess && last?.state === "failed" ? last : undefined;
  return (
    <div className="page">
      <div className="card recall">
        <IconArchive size={40} stroke={1.2} aria-hidden />
        <h1 className="page-title">{t(failed ? "storage.waiting.failed" : "storage.waiting.title")}</h1>
        {known && <PersonName value={known.patient_name || known.patient_id} />}
        {failed ? (
          <>
            <p className="warn" role="alert">
              {failed.problem}
            </p>
            <Button onClick={() => order.mutate()} loading={order.isPending}>
              {t("try_again")}
            </Button>
          </>
        ) : (
          <>
            <p className="faint">{t("storage.waiting.note")}</p>
            <div role="status">{underWay?.instances ? <HowFar move={shown(underWay)} /> : <Waiting />}</div>
          </>
        )}
        <Link to="/study/$study" params={{ study }}>
          {t("storage.waiting.back")}
        </Link>
      </div>
    </div>
  );
}
