import {} from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useChange } from "@/api/lists";
import type { User } from "@/api/types";
import { useTell } from "@/ui/bits";
import { Dialog } from "@/ui/Dialog";
import { PasswordField } from "@/ui/PasswordField";
import { USERS } from "./UserEditor";

export function GivePassword({ user, onClose }: { user: User; onClose: () => void }) {
  const { t } = useTranslation();
  const tell = useTell();
  const [password, setPassword] = useState("");
  const give = useChange(
    USERS,
    () => api.post(`${USERS}/${user.id}/password`, { password }),
    () => {
      tell.done(t("people.password_set"));
      onClose();
    },
  );
  return (
    <Dialog
      title={`${t("people.set_password")}: ${user.username}`}
      submit={t("people.set_password")}
      onClose={onClose}
      onSubmit={(event) => {
        event?.preventDefault();
        give.mutate(undefined);
      }}
      error={give.error}
      pending={give.isPending}
      disabled={!password}
    >
      <PasswordField
        label={t("password.new")}
        autoComplete="new-password"
        data-autofocus
        required
        value={password}
        onChange={(event) => setPassword(event.currentTarget.value)}
      />
    </Dialog>
  );
}
