import { Badge, Button, Group, Menu } from "@mantine/core";
import { useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useChange, useList } from "@/api/lists";
import { useSession } from "@/api/session";
import type { User } from "@/api/types";
import { Empty, Failure, IconButton, PageHead, useTell, Waiting, When } from "@/ui/bits";
import { useConfirm } from "@/ui/confirm";
import {
  IconDotsVertical,
  IconKey,
  IconLogout,
  IconPencil,
  IconPlus,
  IconSearch,
  IconTrash,
  IconUsers,
} from "@/ui/icons";
import { ListTable } from "@/ui/ListTable";
import { TextFilter } from "@/ui/TextFilter";
import { GivePassword } from "./GivePassword";
import { NEW_USER, USERS, UserEditor } from "./UserEditor";

export function UsersPage() {
  const { t } = useTranslation();
  const { me, may } = useSession();
  const tell = useTell();
  const confirm = useConfirm();
  const [wanted, setWanted] = useState("");
  const [edited, setEdited] = useState<User>();
  const [given, setGiven] = useState<User>();
  const users = useList<User>(USERS);
  const remove = useChange(USERS, (id: number) => api.delete(`${USERS}/${id}`));
  const revoke = useChange(
    USERS,
    (id: number) => api.post(`${USERS}/${id}/revoke`),
    () => tell.done(t("people.revoked")),
  );
  const found = useMemo(() => {
    const text = wanted.trim().toLowerCase();
    return (users.data ?? []).filter((user) =>
      [user.username, user.display_name, user.email, user.department, ...user.roles].some((part) =>
        part.toLowerCase().includes(text),
      ),
    );
  }, [users.data, wanted]);
  return (
    <div className="page">
      <PageHead title={t("nav.people")} note={t("people.note")}>
        <div className="search-box">
          <IconSearch size={16} aria-hidden />
          <TextFilter
            className="search-field"
            label={t("people.search")}
            placeholder={t("people.search")}
            value={wanted}
            onChange={setWanted}
          />
        </div>
        {may("people.write") && (
          <Button leftSection={<IconPlus size={16} />} onClick={() => setEdited(NEW_USER)}>
            {t("people.add")}
          </Button>
        )}
      </PageHead>
      {users.isPending && <Waiting />}
      {users.isError && <Failure error={users.error} retry={() => void users.refetch()} />}
      {users.data && !found.length && (
        <div className="card">
          <Empty icon={<IconUsers size={34} stroke={1.3} />} title={t("people.none")} />
        </div>
      )}
      {found.length > 0 && (
        <ListTable
          label={t("nav.people")}
          items={found}
          rowKey={(user) => user.id}
          columns={[
            {
              title: t("people.username"),
              cell: (user) => (
                <Group gap={6}>
                  <b>{user.username}</b>
                  {user.username === me.name && <span className="faint">({t("people.yourself")})</span>}
                  {!user.enabled && (
                    <Badge size="sm" color="gray" variant="light">
                      {t("people.disabled")}
                    </Badge>
                  )}
                </Group>
              ),
            },
            { title: t("people.display_name"), cell: (user) => user.display_name },
            {
              title: t("people.roles"),
              cell: (user) =>
                user.roles.map((role) => t(`role_names.${role}`, role)).join(", ") || (
                  <span className="faint">{t("none")}</span>
                ),
            },
            { title: t("people.department"), cell: (user) => user.department },
            {
              title: t("people.last_login"),
              cell: (user) => (user.last_login_at ? <When at={user.last_login_at} /> : t("never")),
            },
          ]}
          actions={
            may("people.write")
              ? (user) => (
                  <Menu position="bottom-end">
                    <Menu.Target>
                      <IconButton label={`${t("actions")}: ${user.username}`}>
                        <IconDotsVertical size={16} />
                      </IconButton>
                    </Menu.Target>
                    <Menu.Dropdown>
                      <Menu.Item leftSection={<IconPencil size={15} />} onClick={() => setEdited(user)}>
                        {t("edit")}
                      </Menu.Item>
                      {!user.issuer && (
                        <Menu.Item leftSection={<IconKey size={15} />} onClick={() => setGiven(user)}>
                          {t("people.set_password")}
                        </Menu.Item>
                      )}
                      <Menu.Item
                        leftSection={<IconLogout size={15} />}
                        onClick={() =>
                          confirm(
                            t("people.revoke"),
                            t("people.revoke_text", { name: user.username }),
                            t("people.revoke"),
                            () => revoke.mutateAsync(user.id),
                          )
                        }
                      >
                        {t("people.revoke")}
                      </Menu.Item>
                      {user.username !== me.name && (
                        <Menu.Item
                          color="red"
                          leftSection={<IconTrash size={15} />}
                          onClick={() =>
                            confirm(
                              t("people.delete", { name: user.username }),
                              t("people.delete_text"),
                              t("delete"),
                              () => remove.mutateAsync(user.id),
                            )
                          }
                        >
                          {t("delete")}
                        </Menu.Item>
                      )}
                    </Menu.Dropdown>
                  </Menu>
                )
              : undefined
          }
        />
      )}
      {edited && <UserEditor user={edited} onClose={() => setEdited(undefined)} />}
      {given && <GivePassword user={given} onClose={() => setGiven(undefined)} />}
    </div>
  );
}
