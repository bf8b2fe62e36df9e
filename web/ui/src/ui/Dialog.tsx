import { Alert, Button, Group, Modal, Stack, type ModalProps } from "@mantine/core";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { describe } from "@/lib/describe";
import { IconAlertTriangle } from "./icons";

interface Props extends Pick<ModalProps, "size"> {
  title: string;
  onClose: () => void;
  onSubmit: (event?: React.FormEvent<HTMLFormElement>) => void;
  submit: string;
  error?: unknown;
  pending?: boolean;
  disabled?: boolean;
  children: ReactNode;
}

/** A form in a dialog: its fields, what went wrong, and the two ways out. */
export function Dialog({ title, onClose, onSubmit, submit, error, pending, disabled, size, children }: Props) {
  const { t } = useTranslation();
  return (
    <Modal opened onClose={onClose} title={title} size={size ?? "md"} closeButtonProps={{ "aria-label": t("close") }}>
      <form onSubmit={onSubmit} noValidate>
        <Stack gap="sm">
          {children}
          {Boolean(error) && (
            <Alert color="red" role="alert" icon={<IconAlertTriangle size={18} />}>
              {describe(error, t)}
            </Alert>
          )}
          <Group justify="flex-end" mt="xs">
            <Button variant="default" onClick={onClose}>
              {t("cancel")}
            </Button>
            <Button type="submit" loading={pending} disabled={disabled}>
              {submit}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
