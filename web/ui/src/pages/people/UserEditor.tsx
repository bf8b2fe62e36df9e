import { Checkbox, Group, Stack, Switch, Text, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useChange, useList } from "@/api/lists";
import type { Role, StudyScope, User } from "@/api/types";
import { cleanScope, scopeIsWhole } from "@/lib/scope";
import { Dialog } from "@/ui/Dialog";
import { PasswordField } from "@/ui/PasswordField";
import { ScopeEditor } from "./ScopeEditor";

export const USERS = "/users";
export const NEW_USER: User = {
  id: 0,
  username: "",
  display_name: "",
  roles: [],
  enabled: true,
  email: "",
  department: "",
  scope: null,
  has_password: false,
  issuer: null,
  language: "",
  created_at: "",
  last_login_at: null,
};
const NOTHING: StudyScope = { everything: false, rules: [] };

export function UserEditor({ user, onClose }: { user: User; onClose: () => void }) {
  const { t } = useTranslation();
  const roles = useList<Role>("/roles");
  const fresh = user.id === 0;
  const form = useForm({
    initialValues: {
      username: user.username,
      display_name: user.display_name,
      password: "",
      roles: user.roles,
      enabled: user.enabled,
      email: user.email,
      department: user.department,
      scope: user.scope,
    },
    validate: { username: (name) => (name.trim() ? null : t("nodes.required")) },
  });
  const save = useChange(
    USERS,
    ({ username, password, scope, ...rest }: typeof form.values) => {
      const body = { ...rest, scope: scope && cleanScope(scope) };
      return fresh
        ? api.post(USERS, { ...body, username: username.trim(), ...(password && { password }) })
        : api.patch(`${USERS}/${user.id}`, body);
    },
    onClose,
  );
  const { scope } = form.values;
  return (
    <Dialog
      title={fresh ? t("people.add") : t("people.edit", { name: user.username })}
      size="lg"
      submit={t("save")}
      onClose={onClose}
      onSubmit={form.onSubmit((values) => save.mutate(values))}
      error={save.error ?? roles.error}
      pending={save.isPending}
      disabled={scope !== null && !scopeIsWhole(scope)}
    >
      <Group grow align="flex-start">
        <TextInput
          label={t("people.username")}
          required
          disabled={!fresh}
          autoComplete="off"
          data-autofocus
          {...form.getInputProps("username")}
        />
        <TextInput label={t("people.display_name")} {...form.getInputProps("display_name")} />
      </Group>
      <Group grow align="flex-start">
        <TextInput label={t("people.email")} type="email" {...form.getInputProps("email")} />
        <TextInput label={t("people.department")} {...form.getInputProps("department")} />
      </Group>
      {fresh && (
        <PasswordField
          label={t("people.password_first")}
          autoComplete="new-password"
          {...form.getInputProps("password")}
        />
      )}
      {user.issuer && (
        <Text size="sm" c="dimmed">
          {t("people.by_provider", { issuer: user.issuer })}
        </Text>
      )}
      <Checkbox.Group label={t("people.roles")} {...form.getInputProps("roles")}>
        <Stack gap={8} mt={6}>
          {(roles.data ?? []).map((role) => (
            <Checkbox
              key={role.name}
              value={role.name}
              label={t(`role_names.${role.name}`, role.name)}
              description={role.description}
            />
          ))}
        </Stack>
      </Checkbox.Group>
      <Switch label={t("people.enabled")} {...form.getInputProps("enabled", { type: "checkbox" })} />
      <Switch
        label={t("people.own_scope")}
        checked={scope !== null}
        onChange={(event) => form.setFieldValue("scope", event.currentTarget.checked ? NOTHING : null)}
      />
      {scope && <ScopeEditor scope={scope} onChange={(next) => form.setFieldValue("scope", next)} />}
    </Dialog>
  );
}
