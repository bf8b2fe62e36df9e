import { Button, Group, Text } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useSession } from "@/api/session";
import { archiveUrl, downloadArchive, useDelete } from "@/api/studies";
import type { Study } from "@/api/types";
import { bytes } from "@/lib/format";
import { IconButton, useTell } from "@/ui/bits";
import { IconDownload, IconShare, IconTrash, IconX } from "@/ui/icons";
import { ShareDialog } from "../study/ShareDialog";

/** What may be done to the chosen studies, and to how many. */
export function BulkBar({ studies, onDone }: { studies: readonly Study[]; onDone: () => void }) {
  const { t, i18n } = useTranslation();
  const { may } = useSession();
  const tell = useTell();
  const remove = useDelete();
  const [sharing, setSharing] = useState(false);
  const [loading, setLoading] = useState(false);
  const uids = studies.map((study) => study.study_instance_uid);
  const count = studies.length;
  const images = studies.reduce((sum, study) => sum + study.number_of_instances, 0);
  const size = bytes(
    studies.reduce((sum, study) => sum + study.size_bytes, 0),
    i18n.language,
  );
  const [only] = uids;
  const download = async () => {
    setLoading(true);
    try {
      await downloadArchive(uids);
    } catch (error) {
      tell.failed(error);
    }
    setLoading(false);
  };
  return (
    <div className="bulk" role="region" aria-label={t("bulk.label")}>
      <Text size="sm" fw={600} role="status">
        {t("bulk.chosen", { count })}{" "}
        <Text span size="sm" c="dimmed" fw={400}>
          {t("bulk.images", { count: images })} · {size}
        </Text>
      </Text>
      <Group gap="xs">
        {may("study.download") &&
          (count === 1 && only ? (
            <Button
              component="a"
              href={archiveUrl(only)}
              download
              size="xs"
              variant="default"
              leftSection={<IconDownload size={15} />}
            >
              {t("bulk.download")}
            </Button>
          ) : (
            <Button
              size="xs"
              variant="default"
              leftSection={<IconDownload size={15} />}
              loading={loading}
              onClick={() => void download()}
            >
              {t("bulk.download")}
            </Button>
          ))}
        {may("study.share") && (
          <Button size="xs" variant="default" leftSection={<IconShare size={15} />} onClick={() => setSharing(true)}>
            {t("bulk.share")}
          </Button>
        )}
        {may("study.delete") && (
          <Button
            size="xs"
            color="red"
            variant="light"
            leftSection={<IconTrash size={15} />}
            onClick={() =>
              remove(
                t("bulk.delete_title", { count }),
                t("bulk.delete_text", { count: images }),
                uids.map(encodeURIComponent),
                onDone,
              )
            }
          >
            {t("bulk.delete")}
          </Button>
        )}
        <IconButton label={t("bulk.none")} onClick={onDone}>
          <IconX size={16} />
        </IconButton>
      </Group>
      <ShareDialog studies={uids} opened={sharing} onClose={() => setSharing(false)} />
    </div>
  );
}
