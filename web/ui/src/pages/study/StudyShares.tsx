import { Button } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { IconPlus } from "@/ui/icons";
import { ShareTable } from "../ShareTable";
import { ShareDialog } from "./ShareDialog";

export function StudyShares({ study }: { study: string }) {
  const { t } = useTranslation();
  const [making, setMaking] = useState(false);
  return (
    <>
      <Button size="xs" mb="sm" leftSection={<IconPlus size={15} />} onClick={() => setMaking(true)}>
        {t("share.make", { count: 1 })}
      </Button>
      <ShareTable study={study} />
      <ShareDialog studies={[study]} opened={making} onClose={() => setMaking(false)} />
    </>
  );
}
