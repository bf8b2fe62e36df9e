import { ActionIcon, Button, Group, Popover, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import type { Page, SavedSearch } from "@/api/types";
import { fromSaved, toSaved, type StudySearch } from "@/lib/search";
import { useTell } from "@/ui/bits";
import { IconBookmark, IconTrash } from "@/ui/icons";

const SEARCHES = ["searches"];

/** The user's own searches: filters, order and columns under a name. */
export function SavedSearches({ search, onSearch }: { search: StudySearch; onSearch: (search: StudySearch) => void }) {
  const { t } = useTranslation();
  const tell = useTell();
  const client = useQueryClient();
  const [name, setName] = useState("");
  const [open, setOpen] = useState(false);
  const saved = useQuery({
    queryKey: SEARCHES,
    queryFn: ({ signal }) => api.get<Page<SavedSearch>>("/searches", {}, signal),
    staleTime: 60_000,
  });
  const again = () => client.invalidateQueries({ queryKey: SEARCHES });
  const save = useMutation({
    mutationFn: (named: string) => api.post("/searches", { name: named, query: toSaved(search) }),
    onSuccess: () => {
      setName("");
      return again();
    },
    onError: tell.failed,
  });
  const remove = useMutation({
    mutationFn: (id: SavedSearch["id"]) => api.delete(`/searches/${encodeURIComponent(id)}`),
    onSuccess: again,
    onError: tell.failed,
  });
  const items = saved.data?.items ?? [];
  return (
    <Popover opened={open} onChange={setOpen} position="bottom-start" shadow="md" width={280} trapFocus returnFocus>
      <Popover.Target>
        <Button
          size="xs"
          variant="default"
          leftSection={<IconBookmark size={15} />}
          onClick={() => setOpen((was) => !was)}
        >
          {t("searches.title")}
        </Button>
      </Popover.Target>
      <Popover.Dropdown aria-label={t("searches.title")}>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            if (name.trim()) save.mutate(name.trim());
          }}
        >
          <Group gap="xs" wrap="nowrap" align="flex-end">
            <TextInput
              size="xs"
              flex={1}
              label={t("searches.save_as")}
              maxLength={64}
              value={name}
              onChange={(event) => setName(event.currentTarget.value)}
            />
            <Button size="xs" type="submit" disabled={!name.trim()} loading={save.isPending}>
              {t("save")}
            </Button>
          </Group>
        </form>
        {items.map((one) => (
          <Group key={one.id} gap={4} wrap="nowrap" mt={4}>
            <Button
              size="xs"
              variant="subtle"
              color="gray"
              justify="flex-start"
              flex={1}
              onClick={() => {
                onSearch(fromSaved(one.query));
                setOpen(false);
              }}
            >
              {one.name}
            </Button>
            <ActionIcon
              size={24}
              variant="subtle"
              color="gray"
              aria-label={t("searches.delete", { name: one.name })}
              onClick={() => remove.mutate(one.id)}
            >
              <IconTrash size={15} />
            </ActionIcon>
          </Group>
        ))}
        {!items.length && <p className="note">{t("searches.none")}</p>}
      </Popover.Dropdown>
    </Popover>
  );
}
