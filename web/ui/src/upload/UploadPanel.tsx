import { Button, Group, Progress, Text } from "@mantine/core";
import { useState, useSyncExternalStore } from "react";
import { useTranslation } from "react-i18next";
import { bytes, duration, whole } from "@/lib/format";
import { IconButton } from "@/ui/bits";
import {
  IconChevronDown,
  IconChevronUp,
  IconCircleCheck,
  IconPlayerPause,
  IconPlayerPlay,
  IconRefresh,
  IconX,
} from "@/ui/icons";
import type { Uploader } from "./uploader";

/** How far an upload is: rate, what is left, what failed and why, and the way to try that again. */
export function UploadPanel({ uploader, onClose }: { uploader: Uploader; onClose: () => void }) {
  const { t, i18n } = useTranslation();
  const progress = useSyncExternalStore(uploader.listen, uploader.progress);
  const [open, setOpen] = useState(true);
  const { state, bytesPerSecond: rate } = progress;
  const left = progress.bytes - progress.sentBytes;
  const share = progress.bytes ? Math.min(100, (100 * progress.sentBytes) / progress.bytes) : 0;
  const settled = state === "done";
  const title = settled
    ? t("upload.done", { count: progress.stored })
    : t(`upload.${state}`, { count: progress.files - progress.skipped });
  return (
    <section className="upload" aria-label={t("upload.button")}>
      <Group justify="space-between" wrap="nowrap" gap="xs">
        <Text size="sm" fw={600} role="status">
          {settled && !progress.failed && <IconCircleCheck size={16} className="ok-icon" aria-hidden />} {title}
        </Text>
        <Group gap={2} wrap="nowrap">
          {state === "sending" && (
            <IconButton label={t("upload.pause")} onClick={uploader.pause}>
              <IconPlayerPause size={16} />
            </IconButton>
          )}
          {state === "paused" && (
            <IconButton label={t("upload.resume")} onClick={uploader.resume}>
              <IconPlayerPlay size={16} />
            </IconButton>
          )}
          {progress.failures.length > 0 && (
            <IconButton label={t(open ? "upload.hide" : "upload.show")} onClick={() => setOpen((was) => !was)}>
              {open ? <IconChevronDown size={16} /> : <IconChevronUp size={16} />}
            </IconButton>
          )}
          <IconButton label={t(settled ? "close" : "upload.cancel")} onClick={onClose}>
            <IconX size={16} />
          </IconButton>
        </Group>
      </Group>
      <Progress
        value={settled ? 100 : share}
        color={progress.failed ? "orange" : undefined}
        size="sm"
        aria-label={t("upload.progress")}
        animated={state === "sending"}
      />
      <Text size="xs" c="dimmed" className="figures">
        {whole(progress.stored, i18n.language)} / {t("upload.of_files", { count: progress.files - progress.skipped })} ·{" "}
        {bytes(progress.bytes, i18n.language)}
        {state === "sending" &&
          rate > 0 &&
          ` · ${bytes(rate, i18n.language)}/s · ${t("upload.left", { time: duration(left / rate) })}`}
      </Text>
      {progress.failed > 0 && (
        <Group gap="xs" justify="space-between">
          <Text size="sm" c="orange">
            {t("upload.failed", { count: progress.failed })}
          </Text>
          <Button
            size="compact-sm"
            variant="light"
            leftSection={<IconRefresh size={14} />}
            onClick={uploader.retryFailed}
          >
            {t("upload.retry")}
          </Button>
        </Group>
      )}
      {open && progress.failures.length > 0 && (
        <ul className="upload-failures">
          {progress.failures.map((item) => (
            <li key={item.id}>
              <span className="clip" title={item.path}>
                {item.path}
              </span>
              <span>{t(`upload.why.${item.why ?? "other"}`)}</span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
