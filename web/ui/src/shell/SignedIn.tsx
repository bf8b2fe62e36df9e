import { useQueryClient } from "@tanstack/react-query";
import { useNavigate, useRouter } from "@tanstack/react-router";
import { useEffect } from "react";
import { onSignedOut } from "@/api/client";
import { live } from "@/api/live";
import { SessionProvider, useMe } from "@/api/session";
import { isLanguage, speak } from "@/i18n";
import { Failure, Waiting } from "@/ui/bits";
import { Shell } from "./Shell";

/** Everything that needs a login: asks who is there, keeps the live connection, sends strangers to the door. */
export function SignedIn() {
  const me = useMe();
  const client = useQueryClient();
  const router = useRouter();
  const navigate = useNavigate();
  const name = me.data?.name;
  const language = me.data?.language;

  useEffect(() => {
    if (!name) return;
    live.start();
    const off = live.onReopened(() => void client.invalidateQueries());
    return () => {
      off();
      live.stop();
    };
  }, [name, client]);

  useEffect(() => (name ? onSignedOut(() => client.setQueryData(["me"], null)) : undefined), [name, client]);

  const stranger = me.data === null;
  useEffect(() => {
    if (!stranger) return;
    const { href } = router.state.location;
    void navigate({ to: "/login", search: { next: href === "/" ? undefined : href }, replace: true });
  }, [stranger, navigate, router]);

  useEffect(() => {
    if (isLanguage(language)) void speak(language);
  }, [language]);

  if (me.isPending) return <Waiting />;
  if (me.isError) return <Failure error={me.error} retry={() => void me.refetch()} />;
  if (!me.data) return <Waiting />;
  return (
    <SessionProvider me={me.data}>
      <Shell />
    </SessionProvider>
  );
}
