import dayjs from "dayjs";
import i18next from "i18next";
import { initReactI18next } from "react-i18next";
import { en } from "./en";

export const LANGUAGES = { en: "English", zh: "中文", ru: "Русский" } as const;
export type Language = keyof typeof LANGUAGES;

const KEPT = "pacs-language";

export function isLanguage(text: unknown): text is Language {
  return typeof text === "string" && Object.hasOwn(LANGUAGES, text);
}

/** What was chosen here before, else the first of the browser's languages that we speak. */
export function firstLanguage(): Language {
  const kept = localStorage.getItem(KEPT);
  if (isLanguage(kept)) return kept;
  return navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase()).find(isLanguage) ?? "en";
}

async function load(language: Language): Promise<void> {
  if (i18next.hasResourceBundle(language, "translation")) return;
  if (language === "zh") {
    const [{ zh }] = await Promise.all([import("./zh"), import("dayjs/locale/zh-cn")]);
    i18next.addResourceBundle("zh", "translation", zh);
  } else if (language === "ru") {
    const [{ ru }] = await Promise.all([import("./ru"), import("dayjs/locale/ru")]);
    i18next.addResourceBundle("ru", "translation", ru);
  }
}

/** Locale of the calendars. */
export function calendarLocale(language: string): string {
  return language === "zh" ? "zh-cn" : language;
}

export async function speak(language: Language): Promise<void> {
  await load(language);
  await i18next.changeLanguage(language);
  document.documentElement.lang = language === "zh" ? "zh-Hans" : language;
  dayjs.locale(calendarLocale(language));
  localStorage.setItem(KEPT, language);
}

export async function startTranslations(): Promise<void> {
  await i18next.use(initReactI18next).init({
    lng: "en",
    fallbackLng: "en",
    resources: { en: { translation: en } },
    interpolation: { escapeValue: false }, // React escapes
    returnNull: false,
  });
  await speak(firstLanguage());
}
