import {
  Badge,
  Button,
  Code,
  Group,
  NumberInput,
  Stack,
  Switch,
  Table,
  Text,
  Textarea,
  TextInput,
  Tooltip,
} from "@mantine/core";
import { useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useChange, useList } from "@/api/lists";
import { useSession } from "@/api/session";
import type { Setting } from "@/api/types";
import { parseValue, same, showValue } from "@/lib/settings";
import { Empty, Failure, IconButton, PageHead, useTell, Waiting, When } from "@/ui/bits";
import { Dialog } from "@/ui/Dialog";
import { IconArrowBackUp, IconLock, IconPencil, IconSearch } from "@/ui/icons";
import { ListTable } from "@/ui/ListTable";
import { TextFilter } from "@/ui/TextFilter";

const PATH = "/settings";

export function SettingsPage() {
  const { t } = useTranslation();
  const { may } = useSession();
  const tell = useTell();
  const settings = useList<Setting>(PATH);
  const takeBack = useChange(PATH, async (key: string) => {
    try {
      await api.delete(`${PATH}/${encodeURIComponent(key)}`);
      tell.done(t("settings.taken_back", { key }));
    } catch (error) {
      tell.failed(error);
    }
  });
  const [wanted, setWanted] = useState("");
  const [live, setLive] = useState(false);
  const [changed, setChanged] = useState(false);
  const [edited, setEdited] = useState<Setting>();
  const found = useMemo(() => {
    const text = wanted.trim().toLowerCase();
    return (settings.data ?? []).filter(
      (one) =>
        (!text || `${one.key} ${one.description}`.toLowerCase().includes(text)) &&
        (!live || one.live) &&
        (!changed || !same(one.value, one.default)),
    );
  }, [settings.data, wanted, live, changed]);
  return (
    <div className="page">
      <PageHead title={t("nav.settings")} note={t("settings.note")} />
      <div className="filter-bar">
        <div className="search-box">
          <IconSearch size={16} aria-hidden />
          <TextFilter
            className="search-field"
            label={t("settings.search")}
            placeholder={t("settings.search")}
            value={wanted}
            onChange={setWanted}
          />
        </div>
        <Switch
          label={t("settings.only_live")}
          checked={live}
          onChange={(event) => setLive(event.currentTarget.checked)}
        />
        <Switch
          label={t("settings.only_changed")}
          checked={changed}
          onChange={(event) => setChanged(event.currentTarget.checked)}
        />
      </div>
      {settings.isPending && <Waiting />}
      {settings.isError && <Failure error={settings.error} retry={() => void settings.refetch()} />}
      {settings.data && !found.length && (
        <div className="card">
          <Empty title={t("settings.none")} />
        </div>
      )}
      {found.length > 0 && (
        <ListTable
          label={t("nav.settings")}
          items={found}
          rowKey={(one) => one.key}
          columns={[
            {
              title: t("settings.key"),
              cell: (one) => (
                <div className="setting-key">
                  <Group gap={6}>
                    <code>{one.key}</code>
                    {one.live && (
                      <Badge size="xs" variant="light" color="teal">
                        {t("settings.live")}
                      </Badge>
                    )}
                  </Group>
                  <Text size="xs" c="dimmed">
                    {one.description}
                  </Text>
                </div>
              ),
            },
            {
              title: t("settings.value"),
              className: "setting-value",
              cell: (one) => <Value value={one.value} bold={!same(one.value, one.default)} />,
            },
            { title: t("settings.default"), className: "setting-value", cell: (one) => <Value value={one.default} /> },
            { title: t("settings.source"), cell: (one) => <Source setting={one} /> },
          ]}
          actions={(one) =>
            one.live &&
            may("settings.write") &&
            (one.fixed_by ? (
              <Fixed by={one.fixed_by} />
            ) : (
              <>
                {one.changed_by !== null && (
                  <IconButton
                    label={t("settings.take_back", { key: one.key })}
                    onClick={() => takeBack.mutate(one.key)}
                    loading={takeBack.isPending && takeBack.variables === one.key}
                  >
                    <IconArrowBackUp size={16} />
                  </IconButton>
                )}
                <IconButton label={t("settings.change", { key: one.key })} onClick={() => setEdited(one)}>
                  <IconPencil size={16} />
                </IconButton>
              </>
            ))
          }
        />
      )}
      {edited && <Editor setting={edited} onClose={() => setEdited(undefined)} />}
    </div>
  );
}

function Fixed({ by }: { by: string }) {
  const { t } = useTranslation();
  const label = t("settings.fixed_by", { origin: by });
  return (
    <Tooltip label={label}>
      <IconLock size={16} aria-label={label} role="img" className="faint" />
    </Tooltip>
  );
}

function Source({ setting }: { setting: Setting }) {
  const { t } = useTranslation();
  return (
    <span className="faint">
      {setting.changed_by === null ? (
        setting.source
      ) : (
        <>
          {t("settings.changed_by", { who: setting.changed_by })} · <When at={setting.changed_at} />
        </>
      )}
    </span>
  );
}

function Value({ value, bold = false }: { value: unknown; bold?: boolean }) {
  return <code data-bold={bold || undefined}>{showValue(value) || "–"}</code>;
}

/** First the value, then what would change: nothing is applied unseen. */
function Editor({ setting, onClose }: { setting: Setting; onClose: () => void }) {
  const { t } = useTranslation();
  const tell = useTell();
  const [typed, setTyped] = useState(showValue(setting.value));
  const [reviewing, setReviewing] = useState(false);
  const value = parseValue(typed, setting.value ?? setting.default);
  const save = useChange(
    PATH,
    (next: unknown) => api.put(`${PATH}/${encodeURIComponent(setting.key)}`, { value: next }),
    () => {
      tell.done(t("settings.applied", { key: setting.key }));
      onClose();
    },
  );
  const unchanged = value !== undefined && same(value, setting.value);
  const problem = value === undefined ? t("settings.bad_json") : undefined;
  const props = { label: setting.key, description: setting.description, error: problem, "data-autofocus": true };
  return (
    <Dialog
      title={t("settings.change", { key: setting.key })}
      submit={t(reviewing ? "settings.apply" : "settings.review")}
      onClose={onClose}
      onSubmit={(event) => {
        event?.preventDefault();
        if (reviewing) save.mutate(value);
        else setReviewing(true);
      }}
      error={save.error}
      pending={save.isPending}
      disabled={problem !== undefined || unchanged}
    >
      {reviewing ? (
        <Stack gap="xs">
          <Table>
            <Table.Tbody>
              <Table.Tr>
                <Table.Th w={90}>{t("settings.before")}</Table.Th>
                <Table.Td>
                  <Code className="removed">{showValue(setting.value)}</Code>
                </Table.Td>
              </Table.Tr>
              <Table.Tr>
                <Table.Th>{t("settings.after")}</Table.Th>
                <Table.Td>
                  <Code className="added">{showValue(value)}</Code>
                </Table.Td>
              </Table.Tr>
            </Table.Tbody>
          </Table>
          <Button variant="subtle" size="xs" onClick={() => setReviewing(false)}>
            {t("edit")}
          </Button>
        </Stack>
      ) : typeof setting.value === "boolean" ? (
        <Switch
          {...props}
          checked={typed === "true"}
          onChange={(event) => setTyped(String(event.currentTarget.checked))}
        />
      ) : typeof setting.value === "number" ? (
        <NumberInput {...props} value={typed} onChange={(next) => setTyped(String(next))} />
      ) : typeof setting.value === "string" ? (
        <TextInput {...props} value={typed} onChange={(event) => setTyped(event.currentTarget.value)} />
      ) : (
        <Textarea {...props} autosize value={typed} onChange={(event) => setTyped(event.currentTarget.value)} />
      )}
      {unchanged && !reviewing && (
        <Text size="xs" c="dimmed">
          {t("settings.same")}
        </Text>
      )}
    </Dialog>
  );
}
