import { Badge, Button, Checkbox, Group, NumberInput, Switch, Textarea, TextInput, Tooltip } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useChange, useList } from "@/api/lists";
import { useSession } from "@/api/session";
import { NODE_RIGHTS, type Echo, type Node } from "@/api/types";
import { describe } from "@/lib/describe";
import { lines } from "@/lib/lines";
import { Empty, Failure, IconButton, PageHead, Waiting } from "@/ui/bits";
import { useConfirm } from "@/ui/confirm";
import { Dialog } from "@/ui/Dialog";
import {
  IconCircleCheck,
  IconCircleX,
  IconLock,
  IconNetwork,
  IconPencil,
  IconPlugConnected,
  IconPlus,
  IconTrash,
} from "@/ui/icons";
import { ListTable } from "@/ui/ListTable";

const PATH = "/nodes";
const NEW: Node = {
  ae_title: "",
  host: "",
  port: 104,
  networks: [],
  tls: false,
  rights: [...NODE_RIGHTS],
  destinations: null,
  transfer_syntaxes: [],
  certificate_name: null,
  scope: null,
  fixed: false,
};

export function NodesPage() {
  const { t } = useTranslation();
  const { may } = useSession();
  const confirm = useConfirm();
  const [edited, setEdited] = useState<Node>();
  const nodes = useList<Node>(PATH);
  const remove = useChange(PATH, (aet: string) => api.delete(`${PATH}/${encodeURIComponent(aet)}`));
  const writes = may("nodes.write");
  return (
    <div className="page">
      <PageHead title={t("nav.nodes")} note={t("nodes.note")}>
        {writes && (
          <Button leftSection={<IconPlus size={16} />} onClick={() => setEdited(NEW)}>
            {t("nodes.add")}
          </Button>
        )}
      </PageHead>
      {nodes.isPending && <Waiting />}
      {nodes.isError && <Failure error={nodes.error} retry={() => void nodes.refetch()} />}
      {nodes.data?.length === 0 && (
        <div className="card">
          <Empty icon={<IconNetwork size={34} stroke={1.3} />} title={t("nodes.none")}>
            {t("nodes.none_note")}
          </Empty>
        </div>
      )}
      {nodes.data && nodes.data.length > 0 && (
        <ListTable
          label={t("nav.nodes")}
          items={nodes.data}
          rowKey={(node) => node.ae_title}
          columns={[
            { title: t("nodes.ae_title"), cell: (node) => <b>{node.ae_title}</b> },
            {
              title: t("nodes.host"),
              className: "mono",
              cell: (node) => `${node.host}:${node.port}${node.tls ? " · TLS" : ""}`,
            },
            { title: t("nodes.rights"), cell: (node) => <Rights node={node} /> },
            {
              title: t("nodes.destinations"),
              cell: (node) => node.destinations?.join(", ") ?? t("nodes.any_destination"),
            },
            ...(writes ? [{ title: t("nodes.echo"), cell: (node: Node) => <EchoButton aet={node.ae_title} /> }] : []),
          ]}
          actions={(node) =>
            node.fixed ? (
              <Tooltip label={t("nodes.fixed")}>
                <IconLock size={16} aria-label={t("nodes.fixed")} className="faint" />
              </Tooltip>
            ) : (
              writes && (
                <>
                  <IconButton label={`${t("edit")}: ${node.ae_title}`} onClick={() => setEdited(node)}>
                    <IconPencil size={16} />
                  </IconButton>
                  <IconButton
                    label={`${t("delete")}: ${node.ae_title}`}
                    onClick={() =>
                      confirm(t("nodes.delete", { name: node.ae_title }), t("nodes.delete_text"), t("delete"), () =>
                        remove.mutateAsync(node.ae_title),
                      )
                    }
                  >
                    <IconTrash size={16} />
                  </IconButton>
                </>
              )
            )
          }
        />
      )}
      {edited && <Editor node={edited} onClose={() => setEdited(undefined)} />}
    </div>
  );
}

function Rights({ node }: { node: Node }) {
  const { t } = useTranslation();
  return (
    <Group gap={4}>
      {node.rights.map((right) => (
        <Badge key={right} size="sm" variant="light" color="gray">
          {t(`nodes.right.${right}`, right)}
        </Badge>
      ))}
    </Group>
  );
}

function EchoButton({ aet }: { aet: string }) {
  const { t } = useTranslation();
  const echo = useMutation({ mutationFn: () => api.post<Echo>(`${PATH}/${encodeURIComponent(aet)}/echo`) });
  const good = echo.data?.ok ?? false;
  return (
    <Group gap="xs" wrap="nowrap">
      <Button
        size="compact-sm"
        variant="default"
        leftSection={<IconPlugConnected size={15} />}
        loading={echo.isPending}
        aria-label={`${t("nodes.echo")}: ${aet}`}
        onClick={() => echo.mutate()}
      >
        {t("nodes.echo")}
      </Button>
      <span role="status" className="outcome" data-good={good || undefined}>
        {echo.data && (good ? <IconCircleCheck size={15} aria-hidden /> : <IconCircleX size={15} aria-hidden />)}
        {echo.data &&
          (good
            ? t("nodes.echo_ok", { ms: Math.round(echo.data.ms ?? 0) })
            : `${t("nodes.echo_failed")}: ${echo.data.why}`)}
        {echo.isError && describe(echo.error, t)}
      </span>
    </Group>
  );
}

function Editor({ node, onClose }: { node: Node; onClose: () => void }) {
  const { t } = useTranslation();
  const fresh = node.ae_title === "";
  const form = useForm({
    initialValues: {
      ...node,
      networks: node.networks.join("\n"),
      destinations: (node.destinations ?? []).join("\n"),
      transfer_syntaxes: node.transfer_syntaxes.join("\n"),
      certificate_name: node.certificate_name ?? "",
    },
    validate: {
      ae_title: (text) => (/^[^\\\p{Cc}]{1,16}$/u.test(text.trim()) ? null : t("nodes.bad_ae")),
      host: (text) => (text.trim() ? null : t("nodes.required")),
      port: (port) => (Number.isInteger(port) && port >= 0 && port <= 65_535 ? null : t("nodes.bad_port")),
    },
  });
  const save = useChange(
    PATH,
    (values: typeof form.values) => {
      const { fixed: _, ...rest } = values;
      const destinations = lines(values.destinations);
      const body = {
        ...rest,
        ae_title: values.ae_title.trim(),
        host: values.host.trim(),
        networks: lines(values.networks),
        destinations: destinations.length ? destinations : null,
        transfer_syntaxes: lines(values.transfer_syntaxes),
        certificate_name: values.certificate_name.trim() || null,
      };
      return fresh ? api.post(PATH, body) : api.put(`${PATH}/${encodeURIComponent(node.ae_title)}`, body);
    },
    onClose,
  );
  return (
    <Dialog
      title={fresh ? t("nodes.add") : t("nodes.edit", { name: node.ae_title })}
      size="lg"
      submit={t("save")}
      onClose={onClose}
      onSubmit={form.onSubmit((values) => save.mutate(values))}
      error={save.error}
      pending={save.isPending}
    >
      <Group grow align="flex-start">
        <TextInput
          label={t("nodes.ae_title")}
          required
          disabled={!fresh}
          data-autofocus
          {...form.getInputProps("ae_title")}
        />
        <TextInput label={t("nodes.host")} required {...form.getInputProps("host")} />
        <NumberInput
          label={t("nodes.port")}
          required
          min={0}
          max={65_535}
          hideControls
          {...form.getInputProps("port")}
        />
      </Group>
      <Checkbox.Group label={t("nodes.rights")} {...form.getInputProps("rights")}>
        <Group gap="md" mt={4}>
          {NODE_RIGHTS.map((right) => (
            <Checkbox key={right} value={right} label={t(`nodes.right.${right}`)} />
          ))}
        </Group>
      </Checkbox.Group>
      <Switch label={t("nodes.tls")} {...form.getInputProps("tls", { type: "checkbox" })} />
      <Group grow align="flex-start">
        <Textarea
          label={t("nodes.networks")}
          description={t("nodes.networks_note")}
          autosize
          minRows={2}
          maxRows={6}
          {...form.getInputProps("networks")}
        />
        <Textarea
          label={t("nodes.destinations")}
          description={t("nodes.destinations_note")}
          autosize
          minRows={2}
          maxRows={6}
          {...form.getInputProps("destinations")}
        />
      </Group>
      <Textarea
        label={t("nodes.syntaxes")}
        description={t("nodes.syntaxes_note")}
        autosize
        minRows={1}
        maxRows={6}
        {...form.getInputProps("transfer_syntaxes")}
      />
      <TextInput label={t("nodes.certificate")} {...form.getInputProps("certificate_name")} />
    </Dialog>
  );
}
