/** Which studies a role or user may see: rules of which one must fit; within a rule all that is filled in. Pure. */

import type { ScopeRule, StudyScope } from "@/api/types";

export const RULE_LISTS = [
  "modalities",
  "sources",
  "institutions",
  "departments",
  "referring_physicians",
  "studies",
] as const;

export const EMPTY_RULE: ScopeRule = {
  modalities: [],
  sources: [],
  institutions: [],
  departments: [],
  referring_physicians: [],
  studies: [],
  own_department: false,
  own_referring: false,
};

export function ruleIsEmpty(rule: ScopeRule): boolean {
  return !rule.own_department && !rule.own_referring && RULE_LISTS.every((list) => rule[list].length === 0);
}

/** A rule without a condition would be met by no study; whoever leaves one empty meant something else. */
export function scopeIsWhole(scope: StudyScope): boolean {
  return scope.everything || !scope.rules.some(ruleIsEmpty);
}

/** What is sent: no rules beside "all studies". */
export function cleanScope(scope: StudyScope): StudyScope {
  return scope.everything ? { everything: true, rules: [] } : scope;
}
