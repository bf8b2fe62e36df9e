/** Key of an action's name in the translations, where a dot separates levels. */
export function actionKey(action: string): string {
  return `action.${action.replaceAll(".", "_")}`;
}
