import { Button, Group, NumberInput, Select, Switch, TagsInput, TextInput } from "@mantine/core";
import { useForm, type FormRulesRecord, type UseFormReturnType } from "@mantine/form";
import { useMutation } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useChange } from "@/api/lists";
import { useStores } from "@/api/storage";
import type { Policy, PolicyPreview } from "@/api/types";
import { ACTIONS, DAYS, draftOf, FORMS, NEEDS, ONLINE, ruleOf, SIZES, WORDS, type Draft } from "@/lib/storage";
import { Dialog } from "@/ui/Dialog";
import { IconFlask } from "@/ui/icons";
import { MODALITIES } from "@/ui/Modality";
import { PreviewResult } from "./PreviewResult";
import { useStoreName } from "./RuleText";

export const POLICIES = "/storage/policies";
const MOST_DAYS = 36_500;

/** Everything that a policy may say. It can be tried before it is saved. */
export function PolicyEditor({ policy, onClose }: { policy?: Policy; onClose: () => void }) {
  const { t } = useTranslation();
  const preview = useMutation({
    mutationFn: (draft: Draft) => api.post<PolicyPreview>("/storage/preview", ruleOf(draft)),
  });
  // Its result is below what fits on a screen.
  const result = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (preview.data) result.current?.scrollIntoView({ block: "nearest" });
  }, [preview.data]);
  const save = useChange(
    POLICIES,
    (draft: Draft) => {
      const { name, enabled, priority } = draft;
      const body = { name: name.trim(), enabled, priority: Number(priority) || 100, rule: ruleOf(draft) };
      return policy ? api.put(`${POLICIES}/${policy.id}`, body) : api.post(POLICIES, body);
    },
    onClose,
  );
  const form = useForm<Draft>({
    initialValues: draftOf(policy),
    validate: { name: (name) => (name.trim() ? null : t("nodes.required")) },
    onValuesChange: () => {
      // What a dry run said was of another rule.
      preview.reset();
      save.reset();
    },
  });
  return (
    <Dialog
      title={policy ? t("storage.policy.edit", { name: policy.name }) : t("storage.policy.add")}
      size="xl"
      submit={t("save")}
      onClose={onClose}
      onSubmit={form.onSubmit((draft) => save.mutate(draft))}
      error={save.error ?? preview.error}
      pending={save.isPending}
    >
      <Group align="flex-start" wrap="nowrap">
        <TextInput
          className="grow"
          label={t("storage.policy.name")}
          required
          data-autofocus
          maxLength={128}
          {...form.getInputProps("name")}
        />
        <NumberInput
          w={110}
          label={t("storage.policy.priority")}
          min={1}
          max={1000}
          allowDecimal={false}
          title={t("storage.policy.priority_note")}
          {...form.getInputProps("priority")}
        />
      </Group>
      <ActionFields form={form} />
      <fieldset className="rule">
        <legend>{t("storage.policy.conditions")}</legend>
        <p className="note">{t("storage.policy.conditions_note")}</p>
        <ConditionFields form={form} />
      </fieldset>
      <Group justify="space-between">
        <Switch label={t("storage.policy.enabled")} {...form.getInputProps("enabled", { type: "checkbox" })} />
        <Button
          variant="light"
          leftSection={<IconFlask size={16} />}
          loading={preview.isPending}
          onClick={() => preview.mutate(form.values)}
        >
          {t("storage.policy.dry_run")}
        </Button>
      </Group>
      <div role="status" ref={result}>
        {preview.data && <PreviewResult preview={preview.data} />}
      </div>
    </Dialog>
  );
}

type Form = UseFormReturnType<Draft, Draft, FormRulesRecord<Draft>>;

function ActionFields({ form }: { form: Form }) {
  const { t } = useTranslation();
  const storeName = useStoreName();
  const stores = useStores().map(({ name }) => name);
  const { action } = form.values;
  const needs = NEEDS[action];
  const choices = (names: readonly string[], chosen: string) =>
    // One that is not in the settings any more is shown as it is written.
    [...new Set([...names, ...(chosen ? [chosen] : [])])].map((value) => ({ value, label: storeName(value) }));
  return (
    <>
      <Select
        label={t("storage.policy.action")}
        description={t(`storage.policy.action_notes.${action}`)}
        allowDeselect={false}
        data={ACTIONS.map((value) => ({ value, label: t(`storage.policy.actions.${value}`) }))}
        {...form.getInputProps("action")}
      />
      <div className="rule-fields">
        {needs.from && (
          <Select
            label={t("storage.policy.from")}
            allowDeselect={false}
            data={choices([ONLINE, ...stores], form.values.from_store)}
            {...form.getInputProps("from_store")}
          />
        )}
        {needs.to && (
          <>
            <Select
              label={t("storage.policy.to")}
              allowDeselect={false}
              data={choices(stores, form.values.to_store)}
              {...form.getInputProps("to_store")}
            />
            <Select
              label={t("storage.policy.form")}
              allowDeselect={false}
              data={FORMS.map((value) => ({ value, label: t(`storage.policy.forms.${value}`, value) }))}
              {...form.getInputProps("form")}
            />
          </>
        )}
        {needs.retention && (
          <NumberInput
            label={t("storage.policy.retention_days")}
            description={t("storage.policy.retention_note")}
            suffix={t("storage.policy.days")}
            min={0}
            max={MOST_DAYS}
            allowDecimal={false}
            {...form.getInputProps("retention_days")}
          />
        )}
        <NumberInput
          label={t("storage.policy.studies_a_run")}
          min={1}
          max={10_000}
          allowDecimal={false}
          {...form.getInputProps("studies_a_run")}
        />
      </div>
    </>
  );
}

function ConditionFields({ form }: { form: Form }) {
  const { t } = useTranslation();
  const label = (name: string) => t(`storage.policy.when.${name}`);
  return (
    <div className="rule-fields">
      {DAYS.map((name) => (
        <NumberInput
          key={name}
          size="xs"
          label={label(name)}
          suffix={t("storage.policy.days")}
          min={0}
          max={MOST_DAYS}
          allowDecimal={false}
          {...form.getInputProps(name)}
        />
      ))}
      {SIZES.map((name) => (
        <NumberInput
          key={name}
          size="xs"
          label={label(name)}
          suffix={t("storage.policy.megabytes")}
          min={0}
          max={1e9}
          decimalScale={6}
          {...form.getInputProps(name)}
        />
      ))}
      <NumberInput
        size="xs"
        label={label("online_free_below_percent")}
        suffix={t("storage.policy.percent")}
        min={0}
        max={100}
        decimalScale={2}
        {...form.getInputProps("online_free_below_percent")}
      />
      {WORDS.map((name) => (
        <TagsInput
          key={name}
          size="xs"
          label={label(name)}
          placeholder={form.values.words[name].length ? undefined : t("storage.policy.values_note")}
          data={name === "modalities" ? MODALITIES : undefined}
          maxTags={64}
          acceptValueOnBlur
          {...form.getInputProps(`words.${name}`)}
        />
      ))}
    </div>
  );
}
