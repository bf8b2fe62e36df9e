import { Alert, Button, Group, Modal, Stack } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useMutation } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { describe } from "@/lib/describe";
import { useTell } from "@/ui/bits";
import { PasswordField } from "@/ui/PasswordField";

export function PasswordDialog({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  const { t } = useTranslation();
  const tell = useTell();
  const form = useForm({
    initialValues: { old: "", new: "", again: "" },
    validate: { again: (again, values) => (again === values.new ? null : t("password.differ")) },
  });
  const close = () => {
    form.reset();
    change.reset();
    onClose();
  };
  const change = useMutation({
    mutationFn: (values: { old: string; new: string }) =>
      api.post("/me/password", { old: values.old, new: values.new }),
    onSuccess: () => {
      tell.done(t("password.changed"));
      close();
    },
  });
  return (
    <Modal opened={opened} onClose={close} title={t("password.change")} closeButtonProps={{ "aria-label": t("close") }}>
      <form onSubmit={form.onSubmit((values) => change.mutate(values))}>
        <Stack>
          <PasswordField
            label={t("password.old")}
            autoComplete="current-password"
            required
            {...form.getInputProps("old")}
          />
          <PasswordField
            label={t("password.new")}
            autoComplete="new-password"
            required
            {...form.getInputProps("new")}
          />
          <PasswordField
            label={t("password.again")}
            autoComplete="new-password"
            required
            {...form.getInputProps("again")}
          />
          {change.isError && <Alert color="red">{describe(change.error, t)}</Alert>}
          <Group justify="flex-end">
            <Button variant="default" onClick={close}>
              {t("cancel")}
            </Button>
            <Button type="submit" loading={change.isPending}>
              {t("password.change")}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
