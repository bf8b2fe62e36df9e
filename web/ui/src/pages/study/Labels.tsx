import { Button, Group, TagsInput, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useSession } from "@/api/session";
import { studyPath } from "@/api/storage";
import type { StudyStorage } from "@/api/types";
import { same } from "@/lib/settings";
import { useTell } from "@/ui/bits";

const MOST = 32;

/** What policies choose by besides what is in the images. */
export function Labels({ study, facts }: { study: string; facts: StudyStorage }) {
  const { t } = useTranslation();
  const { may } = useSession();
  const tell = useTell();
  const client = useQueryClient();
  const [labels, setLabels] = useState(facts.labels);
  const [state, setState] = useState(facts.workflow_state);
  const [stay, setStay] = useState(facts.patient_class);
  const fixed = !may("storage.write");
  const save = useMutation({
    mutationFn: () =>
      api.put(`${studyPath(study)}/labels`, { labels, workflow_state: state.trim(), patient_class: stay.trim() }),
    onSuccess: async () => {
      tell.done(t("storage.study.labels_saved"));
      await client.invalidateQueries({ queryKey: ["study-storage", study] });
    },
    onError: tell.failed,
  });
  const unchanged =
    same(labels, facts.labels) && state.trim() === facts.workflow_state && stay.trim() === facts.patient_class;
  return (
    <section className="card section" aria-label={t("storage.study.labels")}>
      <TagsInput
        label={t("storage.study.labels")}
        description={t("storage.study.labels_note")}
        placeholder={labels.length ? undefined : t("storage.policy.values_note")}
        maxTags={MOST}
        maxLength={64}
        acceptValueOnBlur
        disabled={fixed}
        value={labels}
        onChange={setLabels}
      />
      <Group align="flex-end" gap="sm" mt="xs">
        <TextInput
          className="grow"
          label={t("storage.study.workflow_state")}
          maxLength={64}
          disabled={fixed}
          value={state}
          onChange={(event) => setState(event.currentTarget.value)}
        />
        <TextInput
          className="grow"
          label={t("storage.study.patient_class")}
          maxLength={64}
          disabled={fixed}
          value={stay}
          onChange={(event) => setStay(event.currentTarget.value)}
        />
        {!fixed && (
          <Button variant="default" disabled={unchanged} loading={save.isPending} onClick={() => save.mutate()}>
            {t("save")}
          </Button>
        )}
      </Group>
    </section>
  );
}
