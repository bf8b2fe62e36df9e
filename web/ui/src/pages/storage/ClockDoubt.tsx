import { Alert, Button, Group } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useSession } from "@/api/session";
import { absolute } from "@/lib/format";
import { useTell, When } from "@/ui/bits";
import { IconClock } from "@/ui/icons";

/** The wall clock has jumped: no policy does anything until somebody says that it is right. */
export function ClockDoubt({ since, now }: { since: string; now: string }) {
  const { t, i18n } = useTranslation();
  const { may } = useSession();
  const tell = useTell();
  const client = useQueryClient();
  const confirm = useMutation({
    mutationFn: () => api.post("/storage/clock"),
    onSuccess: async () => {
      tell.done(t("storage.clock_confirmed"));
      await client.invalidateQueries({ queryKey: ["storage"] });
    },
    onError: tell.failed,
  });
  return (
    <Alert color="orange" icon={<IconClock size={18} />} title={t("storage.clock")} mb="md" role="alert">
      <Group justify="space-between" gap="sm">
        <span>
          {t("storage.clock_note", { now: absolute(new Date(now), i18n.language) })}{" "}
          <span className="faint">
            {t("storage.clock_since")} <When at={since} />
          </span>
        </span>
        {may("storage.write") && (
          <Button size="xs" variant="default" loading={confirm.isPending} onClick={() => confirm.mutate()}>
            {t("storage.clock_confirm")}
          </Button>
        )}
      </Group>
    </Alert>
  );
}
