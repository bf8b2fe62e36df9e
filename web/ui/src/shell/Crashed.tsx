import { Button, Center, Stack, Text, Title } from "@mantine/core";
import { useTranslation } from "react-i18next";

/** A page that failed to draw: the rest of the panel, and the server, are as well as before. */
export function Crashed({ error }: { error: unknown }) {
  const { t } = useTranslation();
  return (
    <Center mih="60vh" p="md">
      <Stack align="center" gap="sm" role="alert">
        <Title order={1}>{t("crashed.title")}</Title>
        <Text c="dimmed" maw={480} ta="center">
          {t("crashed.text")}
        </Text>
        <code>{error instanceof Error ? error.message : String(error)}</code>
        <Button onClick={() => location.reload()}>{t("crashed.reload")}</Button>
      </Stack>
    </Center>
  );
}

export function Lost() {
  const { t } = useTranslation();
  return (
    <Center mih="60vh" p="md">
      <Stack align="center" gap="sm">
        <Title order={1}>{t("lost.title")}</Title>
        <Text c="dimmed">{t("lost.text")}</Text>
        <Button component="a" href="/">
          {t("nav.studies")}
        </Button>
      </Stack>
    </Center>
  );
}
