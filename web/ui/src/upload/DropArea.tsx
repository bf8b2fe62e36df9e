import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useRef, useState, type DragEvent, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { IconFolder } from "@/ui/icons";
import { chosen, entriesOf, walk } from "./files";
import { Uploader } from "./uploader";
import { UploadPanel } from "./UploadPanel";

interface Props {
  enabled: boolean;
  children: (choose: (folder: boolean) => void) => ReactNode;
}

const carriesFiles = (event: DragEvent) => event.dataTransfer.types.includes("Files");

/** A page onto which files and folders can be dropped to be stored. */
export function DropArea({ enabled, children }: Props) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [over, setOver] = useState(0);
  const [uploader, setUploader] = useState<Uploader>();
  const files = useRef<HTMLInputElement>(null);
  const folder = useRef<HTMLInputElement>(null);

  const take = useCallback(
    (found: Parameters<Uploader["add"]>[0]) => {
      const current = uploader ?? new Uploader(() => void client.invalidateQueries({ queryKey: ["studies"] }));
      setUploader(current);
      void current.add(found);
    },
    [uploader, client],
  );
  useEffect(() => {
    if (!uploader) return;
    const leaving = (event: BeforeUnloadEvent) => {
      if (uploader.progress().state !== "done") event.preventDefault();
    };
    window.addEventListener("beforeunload", leaving);
    return () => window.removeEventListener("beforeunload", leaving);
  }, [uploader]);
  useEffect(() => () => uploader?.stop(), [uploader]);

  if (!enabled) return children(() => undefined);
  return (
    // Dropping is a way of the mouse; the upload button does the same for everybody.
    <div
      className="drop-area"
      onDragEnter={(event) => carriesFiles(event) && setOver((depth) => depth + 1)}
      onDragLeave={(event) => carriesFiles(event) && setOver((depth) => Math.max(0, depth - 1))}
      onDragOver={(event) => {
        if (!carriesFiles(event)) return;
        event.preventDefault();
        event.dataTransfer.dropEffect = "copy";
      }}
      onDrop={(event) => {
        if (!carriesFiles(event)) return;
        event.preventDefault();
        setOver(0);
        take(walk(entriesOf(event.dataTransfer.items)));
      }}
    >
      {children((wholeFolder) => (wholeFolder ? folder : files).current?.click())}
      <input
        ref={files}
        type="file"
        multiple
        hidden
        aria-label={t("upload.files")}
        data-testid="upload-files"
        onChange={(event) => {
          if (event.currentTarget.files) take(chosen(event.currentTarget.files));
          event.currentTarget.value = "";
        }}
      />
      <input
        ref={folder}
        type="file"
        webkitdirectory=""
        hidden
        aria-label={t("upload.folder")}
        onChange={(event) => {
          if (event.currentTarget.files) take(chosen(event.currentTarget.files));
          event.currentTarget.value = "";
        }}
      />
      {over > 0 && (
        <div className="drop-hint" aria-hidden>
          <IconFolder size={48} stroke={1.2} />
          <b>{t("upload.drop_here")}</b>
          <span>{t("upload.drop_note")}</span>
        </div>
      )}
      {uploader && <UploadPanel uploader={uploader} onClose={() => setUploader(undefined)} />}
    </div>
  );
}
