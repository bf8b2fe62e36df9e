import { Select, Text } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { orderMove, useStores } from "@/api/storage";
import type { StudyStorage } from "@/api/types";
import { FORMS, NEEDS, ONLINE } from "@/lib/storage";
import { useTell } from "@/ui/bits";
import { Dialog } from "@/ui/Dialog";
import { useStoreName } from "../storage/RuleText";

export type Way = "copy" | "move" | "remove";

interface Props {
  study: string;
  facts: StudyStorage;
  way: Way;
  onClose: () => void;
}

/** From where to where, and how it lies there. */
export function MoveDialog({ study, facts, way, onClose }: Props) {
  const { t } = useTranslation();
  const tell = useTell();
  const client = useQueryClient();
  const name = useStoreName();
  const needs = NEEDS[way];
  const there = [...(facts.online > 0 ? [ONLINE] : []), ...facts.copies.map(({ store }) => store)];
  const stores = useStores().map((store) => store.name);
  const [from, setFrom] = useState(there[0] ?? ONLINE);
  const [to, setTo] = useState<string>();
  const [form, setForm] = useState<string>("plain");
  const targets = stores.filter((store) => (needs.from ? store !== from : !there.includes(store)));
  const target = to !== undefined && targets.includes(to) ? to : targets[0];
  const order = useMutation({
    mutationFn: () =>
      orderMove({
        study_instance_uid: study,
        from_store: needs.from ? from : "",
        to_store: needs.to ? (target ?? "") : "",
        form: needs.to ? form : "plain",
      }),
    onSuccess: async () => {
      tell.done(t("storage.study.ordered"));
      await client.invalidateQueries({ queryKey: ["study-storage", study] });
      onClose();
    },
  });
  const choices = (names: readonly string[]) => names.map((value) => ({ value, label: name(value) }));
  return (
    <Dialog
      title={t(`storage.study.move_title.${way}`)}
      submit={t("done")}
      onClose={onClose}
      onSubmit={(event) => {
        event?.preventDefault();
        order.mutate();
      }}
      error={order.error}
      pending={order.isPending}
      disabled={needs.to && target === undefined}
    >
      {needs.from && (
        <Select
          label={t("storage.policy.from")}
          allowDeselect={false}
          data={choices(there)}
          value={from}
          onChange={(value) => setFrom(value ?? from)}
        />
      )}
      {needs.to && (
        <>
          <Select
            label={t("storage.policy.to")}
            allowDeselect={false}
            data={choices(targets)}
            value={target ?? null}
            onChange={(value) => setTo(value ?? undefined)}
          />
          <Select
            label={t("storage.policy.form")}
            allowDeselect={false}
            data={FORMS.map((value) => ({ value, label: t(`storage.policy.forms.${value}`, value) }))}
            value={form}
            onChange={(value) => setForm(value ?? "plain")}
          />
        </>
      )}
      {way === "remove" && (
        <Text size="sm" c="dimmed">
          {t("storage.study.remove_note")}
        </Text>
      )}
    </Dialog>
  );
}
