import { Button, Checkbox, Group, Modal, Select, Stack, Text, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useChange, useList } from "@/api/lists";
import { useSession } from "@/api/session";
import type { NewToken, Token } from "@/api/types";
import { CopyButton, Empty, Failure, PageHead, Waiting, When } from "@/ui/bits";
import { actionKey } from "@/lib/actions";
import { useConfirm } from "@/ui/confirm";
import { Dialog } from "@/ui/Dialog";
import { IconKey, IconPlus } from "@/ui/icons";
import { ListTable } from "@/ui/ListTable";

const PATH = "/tokens";
const DAY = 86_400;

export function TokensPage() {
  const { t } = useTranslation();
  const confirm = useConfirm();
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<NewToken>();
  const tokens = useList<Token>(PATH);
  const remove = useChange(PATH, (id: Token["id"]) => api.delete(`${PATH}/${encodeURIComponent(id)}`));
  return (
    <div className="page">
      <PageHead title={t("nav.tokens")} note={t("tokens.note")}>
        <Button leftSection={<IconPlus size={16} />} onClick={() => setMaking(true)}>
          {t("tokens.add")}
        </Button>
      </PageHead>
      {tokens.isPending && <Waiting />}
      {tokens.isError && <Failure error={tokens.error} retry={() => void tokens.refetch()} />}
      {tokens.data?.length === 0 && (
        <div className="card">
          <Empty icon={<IconKey size={34} stroke={1.3} />} title={t("tokens.none")} />
        </div>
      )}
      {tokens.data && tokens.data.length > 0 && (
        <ListTable
          label={t("nav.tokens")}
          items={tokens.data}
          rowKey={(token) => token.id}
          columns={[
            { title: t("tokens.name"), cell: (token) => <b>{token.name}</b> },
            {
              title: t("tokens.actions"),
              cell: (token) =>
                token.actions?.map((action) => t(actionKey(action))).join(", ") ?? t("tokens.everything"),
            },
            { title: t("tokens.created"), cell: (token) => <When at={token.created_at} /> },
            { title: t("tokens.used"), cell: (token) => (token.used_at ? <When at={token.used_at} /> : t("never")) },
            { title: t("tokens.expires"), cell: (token) => <When at={token.expires_at} /> },
          ]}
          actions={(token) => (
            <Button
              size="compact-xs"
              variant="light"
              color="red"
              onClick={() =>
                confirm(t("tokens.delete", { name: token.name }), t("tokens.delete_text"), t("tokens.revoke"), () =>
                  remove.mutateAsync(token.id),
                )
              }
            >
              {t("tokens.revoke")}
            </Button>
          )}
        />
      )}
      {making && (
        <NewTokenDialog
          onClose={() => setMaking(false)}
          onMade={(token) => {
            setMaking(false);
            setMade(token);
          }}
        />
      )}
      <Modal
        opened={made !== undefined}
        onClose={() => setMade(undefined)}
        title={made?.name}
        closeButtonProps={{ "aria-label": t("close") }}
      >
        <Stack>
          <Text size="sm">{t("tokens.secret")}</Text>
          <Group gap="xs" wrap="nowrap" className="secret">
            <code>{made?.token}</code>
            <CopyButton value={made?.token ?? ""} label={t("tokens.copy")} />
          </Group>
          <Text size="sm" c="dimmed">
            {t("tokens.use")}
          </Text>
          <Button onClick={() => setMade(undefined)}>{t("done")}</Button>
        </Stack>
      </Modal>
    </div>
  );
}

function NewTokenDialog({ onClose, onMade }: { onClose: () => void; onMade: (token: NewToken) => void }) {
  const { t } = useTranslation();
  const { me } = useSession();
  const form = useForm({
    initialValues: { name: "", expires: String(90 * DAY), actions: [...me.actions] as string[] },
    validate: { name: (name) => (name.trim() ? null : t("nodes.required")) },
  });
  const make = useChange(
    PATH,
    (values: typeof form.values) =>
      api.post<NewToken>(PATH, {
        name: values.name.trim(),
        ...(values.actions.length < me.actions.length && { actions: values.actions }),
        expires_in_s: Number(values.expires),
      }),
    onMade,
  );
  return (
    <Dialog
      title={t("tokens.add")}
      submit={t("tokens.add")}
      onClose={onClose}
      onSubmit={form.onSubmit((values) => make.mutate(values))}
      error={make.error}
      pending={make.isPending}
      disabled={!form.values.actions.length}
    >
      <TextInput label={t("tokens.name")} required maxLength={100} data-autofocus {...form.getInputProps("name")} />
      <Select
        label={t("tokens.validity")}
        allowDeselect={false}
        data={[30, 90, 365].map((count) => ({ value: String(count * DAY), label: t("share.days", { count }) }))}
        {...form.getInputProps("expires")}
      />
      <Checkbox.Group label={t("tokens.actions")} {...form.getInputProps("actions")}>
        <div className="checks">
          {me.actions.map((action) => (
            <Checkbox key={action} size="xs" value={action} label={t(actionKey(action))} />
          ))}
        </div>
      </Checkbox.Group>
    </Dialog>
  );
}
