import { useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useRef, useState } from "react";
import { api } from "@/api/client";
import { useTopic } from "@/api/live";
import type { NodeStatus } from "@/api/types";
import { nodeOf } from "@/lib/node";
import { keep, sampleOf, type Sample } from "@/lib/rates";

const KEPT_S = 600;
const ASKED_EVERY_MS = 2_000;

/** The node as it is now and its rates of the last minutes; from the live connection, or by asking while there is none. */
export function useNode(paused: boolean) {
  const { state: system } = useTopic("system");
  const { state: associations } = useTopic("associations");
  const { state: queues } = useTopic("queues");
  const pushed = useMemo(() => nodeOf(system, associations, queues), [system, associations, queues]);
  const asked = useQuery({
    queryKey: ["status"],
    queryFn: ({ signal }) => api.get<NodeStatus>("/status", {}, signal),
    refetchInterval: pushed || paused ? false : ASKED_EVERY_MS,
  });
  const latest = pushed ?? asked.data;
  const [shown, setShown] = useState<NodeStatus>();
  const [samples, setSamples] = useState<readonly Sample[]>([]);
  const before = useRef<NodeStatus>(undefined);
  useEffect(() => {
    if (!latest) return;
    const sample = before.current && sampleOf(before.current, latest);
    before.current = latest;
    if (sample) setSamples((kept) => keep(kept, sample, KEPT_S));
    if (!paused) setShown(latest);
  }, [latest, paused]);
  return useMemo(
    () => ({ node: shown ?? latest, samples, error: latest ? null : asked.error, retry: asked.refetch }),
    [shown, latest, samples, asked.error, asked.refetch],
  );
}
