import { useQuery, useQueryClient } from "@tanstack/react-query";
import { createContext, use, useMemo, type ReactNode } from "react";
import { api, Problem } from "./client";
import type { Action, Me } from "./types";

const ME = ["me"] as const;

export interface Session {
  me: Me;
  may: (action: Action) => boolean;
}

const SessionContext = createContext<Session | undefined>(undefined);

/** Who is logged in; null for nobody. */
export function useMe() {
  return useQuery({
    queryKey: ME,
    queryFn: async ({ signal }): Promise<Me | null> => {
      try {
        return await api.get<Me>("/me", {}, signal);
      } catch (error) {
        if (error instanceof Problem && error.status === 401) return null;
        throw error;
      }
    },
    staleTime: 60_000,
    retry: 2,
  });
}

export function useSetMe(): (me: Me | null) => void {
  const client = useQueryClient();
  return (me) => {
    // What the one before could see is not for the next.
    client.removeQueries({ predicate: (query) => query.queryKey[0] !== ME[0] });
    client.setQueryData(ME, me);
  };
}

export function SessionProvider({ me, children }: { me: Me; children: ReactNode }) {
  const session = useMemo(() => {
    const actions = new Set(me.actions);
    return { me, may: (action: Action) => actions.has(action) };
  }, [me]);
  return <SessionContext value={session}>{children}</SessionContext>;
}

export function useSession(): Session {
  const session = use(SessionContext);
  if (!session) throw new Error("no session here");
  return session;
}
