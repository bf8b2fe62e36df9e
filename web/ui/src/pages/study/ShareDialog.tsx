import { Alert, Button, Checkbox, Group, Modal, Select, Stack, Text, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useSession } from "@/api/session";
import type { NewShare } from "@/api/types";
import { describe } from "@/lib/describe";
import { CopyButton, When } from "@/ui/bits";
import { IconLink } from "@/ui/icons";
import { PasswordField } from "@/ui/PasswordField";

const [HOUR, DAY] = [3600, 86_400];
const PERIODS: readonly [number, string, number][] = [
  [HOUR, "share.hours", 1],
  [DAY, "share.days", 1],
  [7 * DAY, "share.days", 7],
  [30 * DAY, "share.days", 30],
  [90 * DAY, "share.days", 90],
];

/** Links that open studies without a login. Each is shown once: the server keeps no copy of the secret. */
export function ShareDialog({
  studies,
  opened,
  onClose,
}: {
  studies: readonly string[];
  opened: boolean;
  onClose: () => void;
}) {
  const { t } = useTranslation();
  const { may } = useSession();
  const client = useQueryClient();
  const form = useForm({ initialValues: { expires: String(7 * DAY), password: "", note: "", download: false } });
  const share = useMutation({
    mutationFn: async (values: { expires: string; password: string; note: string; download: boolean }) => {
      const made: NewShare[] = [];
      for (const study of studies)
        made.push(
          await api.post<NewShare>(`/studies/${encodeURIComponent(study)}/shares`, {
            expires_in_s: Number(values.expires),
            ...(values.password && { password: values.password }),
            ...(values.note && { note: values.note }),
            download: values.download,
          }),
        );
      return made;
    },
    onSettled: () => client.invalidateQueries({ queryKey: ["shares"] }),
  });
  const close = () => {
    form.reset();
    share.reset();
    onClose();
  };
  const links = share.data?.map(({ url }) => new URL(url, location.origin).href);
  return (
    <Modal
      opened={opened}
      onClose={close}
      title={t("share.title", { count: studies.length })}
      closeButtonProps={{ "aria-label": t("close") }}
    >
      {links ? (
        <Stack>
          <Text size="sm">{t("share.made", { count: links.length })}</Text>
          {links.map((link) => (
            <Group key={link} gap="xs" wrap="nowrap" className="secret">
              <code>{link}</code>
              <CopyButton value={link} label={t("share.copy")} />
            </Group>
          ))}
          <Text size="sm" c="dimmed">
            {t("share.expires")} <When at={share.data?.[0]?.expires_at} />
          </Text>
          <Group justify="flex-end">
            <Button onClick={close}>{t("done")}</Button>
          </Group>
        </Stack>
      ) : (
        <form onSubmit={form.onSubmit((values) => share.mutate(values))}>
          <Stack>
            <Text size="sm" c="dimmed">
              {t("share.text")}
            </Text>
            <Select
              label={t("share.valid")}
              allowDeselect={false}
              data={PERIODS.map(([seconds, key, count]) => ({ value: String(seconds), label: t(key, { count }) }))}
              {...form.getInputProps("expires")}
            />
            <PasswordField
              label={t("share.password")}
              description={t("share.password_note")}
              autoComplete="new-password"
              {...form.getInputProps("password")}
            />
            {may("study.download") && (
              <Checkbox label={t("share.download")} {...form.getInputProps("download", { type: "checkbox" })} />
            )}
            <TextInput label={t("share.note")} maxLength={200} {...form.getInputProps("note")} />
            {share.isError && <Alert color="red">{describe(share.error, t)}</Alert>}
            <Group justify="flex-end">
              <Button variant="default" onClick={close}>
                {t("cancel")}
              </Button>
              <Button type="submit" loading={share.isPending} leftSection={<IconLink size={16} />}>
                {t("share.make", { count: studies.length })}
              </Button>
            </Group>
          </Stack>
        </form>
      )}
    </Modal>
  );
}
