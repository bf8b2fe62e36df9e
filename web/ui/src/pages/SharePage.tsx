import { Alert, Button, Paper, PasswordInput, Stack, Text, Title } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api, Problem } from "@/api/client";
import { describe } from "@/lib/describe";
import { ourPath } from "@/lib/paths";
import { IconAlertTriangle, IconEye } from "@/ui/icons";

const route = getRouteApi("/share/$secret");

/**
 * Where a share link leads. Opening takes a click: programs that look at links in mails must not use one up, or be counted as
 * whoever it was meant for.
 */
export function SharePage() {
  const { t } = useTranslation();
  const { secret } = route.useParams();
  const [password, setPassword] = useState("");
  const [asks, setAsks] = useState(false);
  const open = useMutation({
    mutationFn: () =>
      api.post<{ viewer_url: string }>(`/share/${encodeURIComponent(secret)}/open`, password ? { password } : {}),
    onSuccess: ({ viewer_url }) => location.assign(ourPath(viewer_url, "/ohif/")),
    onError: (error) => {
      if (error instanceof Problem && (error.status === 401 || error.status === 403)) setAsks(true);
    },
  });
  const status = open.error instanceof Problem ? open.error.status : 0;
  const refused = status === 401 || status === 403;
  const gone = status === 404 || status === 410;
  const wrong = refused && password !== "";
  return (
    <main className="door" id="main">
      <Paper className="door-card" withBorder shadow="md">
        <img src="/icon.svg" alt="" width={44} height={44} />
        <Title order={1} size="h2" mt="sm">
          {t("opened_share.title")}
        </Title>
        <Text c="dimmed" size="sm" mb="lg">
          {asks ? t("opened_share.asks_password") : t("opened_share.text")}
        </Text>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            open.mutate();
          }}
        >
          <Stack>
            {asks && (
              <PasswordInput
                label={t("share.password")}
                autoComplete="off"
                data-autofocus
                required
                value={password}
                onChange={(event) => setPassword(event.currentTarget.value)}
                visibilityToggleButtonProps={{ "aria-label": t("login.show_password") }}
              />
            )}
            {open.isError && (!refused || wrong) && (
              <Alert color="red" role="alert" icon={<IconAlertTriangle size={18} />}>
                {gone ? t("opened_share.gone") : wrong ? t("opened_share.wrong") : describe(open.error, t)}
              </Alert>
            )}
            <Button type="submit" loading={open.isPending} leftSection={<IconEye size={17} />}>
              {t("opened_share.open")}
            </Button>
          </Stack>
        </form>
      </Paper>
    </main>
  );
}
