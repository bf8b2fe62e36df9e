import { Button, Group, Radio, Stack, Switch, TagsInput, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { ScopeRule, StudyScope } from "@/api/types";
import { EMPTY_RULE, RULE_LISTS, ruleIsEmpty } from "@/lib/scope";
import { IconButton } from "@/ui/bits";
import { IconPlus, IconTrash } from "@/ui/icons";
import { MODALITIES } from "@/ui/Modality";

/** All studies, or those that fit one of some rules. */
export function ScopeEditor({ scope, onChange }: { scope: StudyScope; onChange: (scope: StudyScope) => void }) {
  const { t } = useTranslation();
  const setRule = (at: number, rule: ScopeRule) =>
    onChange({ ...scope, rules: scope.rules.map((one, index) => (index === at ? rule : one)) });
  return (
    <Stack gap="xs">
      <Radio.Group
        label={t("roles.scope")}
        value={scope.everything ? "everything" : "limited"}
        onChange={(value) => onChange({ ...scope, everything: value === "everything" })}
      >
        <Group mt={4}>
          <Radio value="everything" label={t("roles.everything")} />
          <Radio value="limited" label={t("roles.limited")} />
        </Group>
      </Radio.Group>
      {!scope.everything && (
        <>
          <Text size="xs" c="dimmed">
            {t("roles.rule_note")}
          </Text>
          {scope.rules.map((rule, at) => (
            <fieldset key={at} className="rule">
              <legend>{t("roles.rule", { number: at + 1 })}</legend>
              <span className="rule-remove">
                <IconButton
                  label={t("roles.remove_rule", { number: at + 1 })}
                  onClick={() => onChange({ ...scope, rules: scope.rules.filter((_, index) => index !== at) })}
                >
                  <IconTrash size={16} />
                </IconButton>
              </span>
              <div className="rule-fields">
                {RULE_LISTS.map((list) => (
                  <TagsInput
                    key={list}
                    size="xs"
                    label={t(`roles.${list}`)}
                    placeholder={rule[list].length ? undefined : t("roles.values_note")}
                    data={list === "modalities" ? MODALITIES : undefined}
                    acceptValueOnBlur
                    value={rule[list]}
                    onChange={(values) => setRule(at, { ...rule, [list]: values })}
                  />
                ))}
              </div>
              <Group mt="xs">
                <Switch
                  size="xs"
                  label={t("roles.own_department")}
                  checked={rule.own_department}
                  onChange={(event) => setRule(at, { ...rule, own_department: event.currentTarget.checked })}
                />
                <Switch
                  size="xs"
                  label={t("roles.own_referring")}
                  checked={rule.own_referring}
                  onChange={(event) => setRule(at, { ...rule, own_referring: event.currentTarget.checked })}
                />
              </Group>
            </fieldset>
          ))}
          {scope.rules.some(ruleIsEmpty) && (
            <Text size="xs" c="orange" role="status">
              {t("roles.empty_rule")}
            </Text>
          )}
          <Group>
            <Button
              size="compact-sm"
              variant="light"
              leftSection={<IconPlus size={14} />}
              onClick={() => onChange({ ...scope, rules: [...scope.rules, EMPTY_RULE] })}
            >
              {t("roles.add_rule")}
            </Button>
          </Group>
        </>
      )}
    </Stack>
  );
}
