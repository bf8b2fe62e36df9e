import {
  ActionIcon,
  Alert,
  Box,
  Button,
  Center,
  Group,
  Loader,
  Text,
  Tooltip,
  type ActionIconProps,
} from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useEffect, useState, type MouseEventHandler, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { describe } from "@/lib/describe";
import { absolute, relative } from "@/lib/format";
import { personName } from "@/lib/names";
import { IconAlertTriangle as IconAlert, IconCheck, IconCopy } from "./icons";

/** A button that is only an icon: its label is its name and its tooltip. */
export function IconButton({
  label,
  children,
  ...rest
}: ActionIconProps & { label: string; onClick?: MouseEventHandler<HTMLButtonElement>; children: ReactNode }) {
  return (
    <Tooltip label={label}>
      <ActionIcon variant="subtle" color="gray" size={28} aria-label={label} {...rest}>
        {children}
      </ActionIcon>
    </Tooltip>
  );
}

/** Copies to the clipboard; also where the page has no secure context, as on a plain HTTP address of a hospital. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.setAttribute("readonly", "");
    area.className = "off-screen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

export function CopyButton({ value, label }: { value: string; label: string }) {
  const { t } = useTranslation();
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1500);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <IconButton
      label={copied ? t("copied") : label}
      size={24}
      color={copied ? "teal" : "gray"}
      onClick={(event) => {
        event.stopPropagation();
        void copy(value).then(setCopied);
      }}
    >
      {copied ? <IconCheck size={15} /> : <IconCopy size={15} />}
    </IconButton>
  );
}

export function PersonName({ value }: { value: string }) {
  const { i18n, t } = useTranslation();
  const { main, others } = personName(value, i18n.language);
  if (!main) return <span className="faint">{t("no_name")}</span>;
  return (
    <span title={[main, ...others].join(" · ")}>
      {main}
      {others.length > 0 && <span className="other-name"> {others.join(" · ")}</span>}
    </span>
  );
}

/** Ticks for everything that shows a relative time. */
export function useNow(everyMs = 30_000): Date {
  const [now, setNow] = useState(() => new Date());
  useEffect(() => {
    const timer = setInterval(() => setNow(new Date()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

export function When({ at }: { at: string | null | undefined }) {
  const { i18n } = useTranslation();
  const now = useNow();
  const moment = at ? new Date(at) : undefined;
  if (!moment || Number.isNaN(moment.getTime())) return <span className="faint">–</span>;
  return (
    <time dateTime={at ?? ""} title={absolute(moment, i18n.language)}>
      {relative(moment, now, i18n.language)}
    </time>
  );
}

export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const { t } = useTranslation();
  return (
    <Alert color="red" variant="light" icon={<IconAlert size={18} />} title={t("error.title")} role="alert" m="md">
      <Group justify="space-between" gap="md">
        <Text size="sm">{describe(error, t)}</Text>
        {retry && (
          <Button size="xs" variant="default" onClick={retry}>
            {t("try_again")}
          </Button>
        )}
      </Group>
    </Alert>
  );
}

export function Waiting() {
  const { t } = useTranslation();
  return (
    <Center p="xl" role="status" aria-label={t("loading")}>
      <Loader size="sm" />
    </Center>
  );
}

export function Empty({ icon, title, children }: { icon?: ReactNode; title: string; children?: ReactNode }) {
  return (
    <Box className="empty">
      {icon}
      <Text fw={600}>{title}</Text>
      {children && (
        <Text size="sm" c="dimmed" component="div">
          {children}
        </Text>
      )}
    </Box>
  );
}

export function PageHead({ title, note, children }: { title: ReactNode; note?: ReactNode; children?: ReactNode }) {
  return (
    <Group className="page-head" justify="space-between" gap="sm">
      <div>
        <h1 className="page-title">{title}</h1>
        {note && (
          <Text size="sm" c="dimmed" component="div">
            {note}
          </Text>
        )}
      </div>
      <Group gap="xs">{children}</Group>
    </Group>
  );
}

/** Says in a corner that something went wrong, or worked. */
export function useTell() {
  const { t } = useTranslation();
  const closeButtonProps = { "aria-label": t("close") };
  return {
    failed: (error: unknown) =>
      notifications.show({
        color: "red",
        title: t("error.title"),
        message: describe(error, t),
        autoClose: 10_000,
        closeButtonProps,
      }),
    /** What somebody has to know; it stays until they close it. */
    warn: (message: ReactNode) => notifications.show({ color: "yellow", message, autoClose: false, closeButtonProps }),
    done: (message: ReactNode) => notifications.show({ color: "teal", message, autoClose: 4_000, closeButtonProps }),
  };
}
