import { Alert, Button, Divider, Paper, Stack, Text, TextInput, Title } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useMutation, useQuery } from "@tanstack/react-query";
import { getRouteApi, useRouter } from "@tanstack/react-router";
import { useEffect } from "react";
import { useTranslation } from "react-i18next";
import { address, api, Problem } from "@/api/client";
import { useMe, useSetMe } from "@/api/session";
import type { LoginOptions, Me } from "@/api/types";
import { isLanguage, LANGUAGES, speak } from "@/i18n";
import { describe } from "@/lib/describe";
import { isViewer } from "@/lib/paths";
import { Waiting } from "@/ui/bits";
import { IconAlertTriangle, IconLogin } from "@/ui/icons";
import { PasswordField } from "@/ui/PasswordField";

const route = getRouteApi("/login");

export function LoginPage() {
  const { t, i18n } = useTranslation();
  const { next } = route.useSearch();
  const router = useRouter();
  const me = useMe();
  const setMe = useSetMe();
  const options = useQuery({
    queryKey: ["login options"],
    queryFn: ({ signal }) => api.get<LoginOptions>("/login/options", {}, signal),
    staleTime: Infinity,
  });
  const form = useForm({ initialValues: { username: "", password: "" } });
  const login = useMutation({
    mutationFn: (values: { username: string; password: string }) => api.post<{ me: Me }>("/login", values),
    onSuccess: (answer) => setMe(answer.me),
    onError: () => form.setFieldValue("password", ""),
  });
  useEffect(() => {
    document.title = `${t("login.title")} · PACS`;
  }, [t, i18n.language]);

  const known = Boolean(me.data);
  useEffect(() => {
    if (!known) return;
    if (next && isViewer(next)) location.replace(next);
    else router.history.replace(next ?? "/");
  }, [known, next, router]);

  if (known) return <Waiting />;
  const wrong = login.error instanceof Problem && login.error.status === 401;
  const oidc = options.data?.oidc;
  return (
    <main className="door" id="main">
      <Paper className="door-card" withBorder shadow="md">
        <img src="/icon.svg" alt="" width={44} height={44} />
        <Title order={1} size="h2" mt="sm">
          {t("login.title")}
        </Title>
        <Text c="dimmed" size="sm" mb="lg">
          {t("login.subtitle")}
        </Text>
        <form onSubmit={form.onSubmit((values) => login.mutate(values))}>
          <Stack>
            <TextInput
              label={t("login.username")}
              autoComplete="username"
              data-autofocus
              required
              {...form.getInputProps("username")}
            />
            <PasswordField
              label={t("login.password")}
              autoComplete="current-password"
              required
              {...form.getInputProps("password")}
            />
            {login.isError && (
              <Alert color="red" icon={<IconAlertTriangle size={18} />} role="alert">
                {wrong ? t("login.wrong") : describe(login.error, t)}
              </Alert>
            )}
            <Button type="submit" loading={login.isPending} leftSection={<IconLogin size={17} />}>
              {t("login.submit")}
            </Button>
          </Stack>
        </form>
        {oidc && (
          <>
            <Divider my="md" label={t("login.or")} />
            <Button component="a" href={address(oidc.url, { return_to: next })} variant="default" fullWidth>
              {t("login.with", { name: oidc.name })}
            </Button>
          </>
        )}
      </Paper>
      <nav className="door-languages" aria-label={t("language")}>
        {Object.entries(LANGUAGES).map(([code, name]) => (
          <button
            key={code}
            type="button"
            lang={code}
            aria-pressed={i18n.language === code}
            onClick={() => isLanguage(code) && void speak(code)}
          >
            {name}
          </button>
        ))}
      </nav>
    </main>
  );
}
