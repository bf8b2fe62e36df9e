import { Button, Checkbox, Table, Text, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useChange, useList } from "@/api/lists";
import { useSession } from "@/api/session";
import type { Permission, Role, StudyScope } from "@/api/types";
import { actionKey } from "@/lib/actions";
import { cleanScope, scopeIsWhole } from "@/lib/scope";
import { Failure, IconButton, PageHead, Waiting } from "@/ui/bits";
import { useConfirm } from "@/ui/confirm";
import { Dialog } from "@/ui/Dialog";
import { IconCheck, IconPencil, IconPlus, IconTrash } from "@/ui/icons";
import { ScopeEditor } from "./ScopeEditor";

const PATH = "/roles";
const NEW: Role = {
  name: "",
  description: "",
  actions: ["study.search", "study.view"],
  scope: { everything: true, rules: [] },
};

/** The matrix of permissions and roles. */
export function RolesPage() {
  const { t } = useTranslation();
  const { may } = useSession();
  const confirm = useConfirm();
  const [edited, setEdited] = useState<Role>();
  const roles = useList<Role>(PATH);
  const permissions = useList<Permission>("/permissions");
  const remove = useChange(PATH, (name: string) => api.delete(`${PATH}/${encodeURIComponent(name)}`));
  const writes = may("people.write");
  const title = (role: Role) => t(`role_names.${role.name}`, role.name);
  return (
    <div className="page">
      <PageHead title={t("nav.roles")} note={t("roles.note")}>
        {writes && (
          <Button leftSection={<IconPlus size={16} />} onClick={() => setEdited(NEW)}>
            {t("roles.add")}
          </Button>
        )}
      </PageHead>
      {(roles.isPending || permissions.isPending) && <Waiting />}
      {roles.isError && <Failure error={roles.error} retry={() => void roles.refetch()} />}
      {permissions.isError && <Failure error={permissions.error} retry={() => void permissions.refetch()} />}
      {roles.data && permissions.data && (
        <div className="card table-card table-wide" role="region" aria-label={t("nav.roles")} tabIndex={0}>
          <Table className="plain matrix">
            <Table.Thead>
              <Table.Tr>
                <Table.Th>{t("roles.permission")}</Table.Th>
                {roles.data.map((role) => (
                  <Table.Th key={role.name} scope="col">
                    <div className="matrix-head">
                      <span title={role.description}>{title(role)}</span>
                      {writes && (
                        <span>
                          <IconButton size={24} label={`${t("edit")}: ${title(role)}`} onClick={() => setEdited(role)}>
                            <IconPencil size={15} />
                          </IconButton>
                          <IconButton
                            size={24}
                            label={`${t("delete")}: ${title(role)}`}
                            onClick={() =>
                              confirm(
                                t("roles.delete", { name: title(role) }),
                                t("roles.delete_text"),
                                t("delete"),
                                () => remove.mutateAsync(role.name),
                              )
                            }
                          >
                            <IconTrash size={15} />
                          </IconButton>
                        </span>
                      )}
                    </div>
                  </Table.Th>
                ))}
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {permissions.data.map(({ action, description }) => (
                <Table.Tr key={action}>
                  <Table.Th scope="row">
                    {t(actionKey(action), description)}
                    <Text span size="xs" c="dimmed" className="mono" ml={8}>
                      {action}
                    </Text>
                  </Table.Th>
                  {roles.data.map((role) => (
                    <Table.Td key={role.name}>
                      {role.actions.includes(action) ? (
                        <IconCheck size={17} className="ok-icon" role="img" aria-label={t("yes")} />
                      ) : (
                        <span className="faint" role="img" aria-label={t("no")}>
                          –
                        </span>
                      )}
                    </Table.Td>
                  ))}
                </Table.Tr>
              ))}
              <Table.Tr>
                <Table.Th scope="row">{t("roles.scope")}</Table.Th>
                {roles.data.map((role) => (
                  <Table.Td key={role.name}>
                    <ScopeSummary scope={role.scope} />
                  </Table.Td>
                ))}
              </Table.Tr>
            </Table.Tbody>
          </Table>
        </div>
      )}
      {edited && <RoleEditor role={edited} permissions={permissions.data ?? []} onClose={() => setEdited(undefined)} />}
    </div>
  );
}

function ScopeSummary({ scope }: { scope: StudyScope }) {
  const { t } = useTranslation();
  const count = scope.rules.length;
  return (
    <Text size="xs">
      {scope.everything ? t("roles.everything") : count ? t("roles.rules", { count }) : t("roles.nothing")}
    </Text>
  );
}

function RoleEditor({
  role,
  permissions,
  onClose,
}: {
  role: Role;
  permissions: readonly Permission[];
  onClose: () => void;
}) {
  const { t } = useTranslation();
  const fresh = role.name === "";
  const form = useForm({
    initialValues: { ...role, actions: role.actions as string[] },
    validate: { name: (name) => (name.trim() ? null : t("nodes.required")) },
  });
  const save = useChange(
    PATH,
    (values: typeof form.values) => {
      const body = { ...values, name: values.name.trim(), scope: cleanScope(values.scope) };
      return fresh ? api.post(PATH, body) : api.put(`${PATH}/${encodeURIComponent(role.name)}`, body);
    },
    onClose,
  );
  return (
    <Dialog
      title={fresh ? t("roles.add") : t("roles.edit", { name: t(`role_names.${role.name}`, role.name) })}
      size="lg"
      submit={t("save")}
      onClose={onClose}
      onSubmit={form.onSubmit((values) => save.mutate(values))}
      error={save.error}
      pending={save.isPending}
      disabled={!scopeIsWhole(form.values.scope)}
    >
      <TextInput
        label={t("roles.name")}
        required
        disabled={!fresh}
        maxLength={64}
        data-autofocus
        {...form.getInputProps("name")}
      />
      <TextInput label={t("roles.description")} {...form.getInputProps("description")} />
      <Checkbox.Group label={t("nodes.rights")} {...form.getInputProps("actions")}>
        <div className="checks">
          {permissions.map(({ action, description }) => (
            <Checkbox key={action} size="xs" value={action} label={t(actionKey(action), description)} />
          ))}
        </div>
      </Checkbox.Group>
      <ScopeEditor scope={form.values.scope} onChange={(scope) => form.setFieldValue("scope", scope)} />
    </Dialog>
  );
}
