/** Where studies are kept, asked for as often as it changes. */

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { askAgainIn, liveMoves, movesOf, shown, type Moves } from "@/lib/storage";
import { api } from "./client";
import { useTopic } from "./live";
import { useSession } from "./session";
import type { Move, Storage, StoreState, StudyDetail, StudyStorage } from "./types";

const MOVES = "/storage/moves";
const EVERY_STATE = "waiting,running,done,failed,cancelled";
const ASKED_EVERY_MS = 2_000;
const FIGURES_EVERY_MS = 30_000;

export function useStorage(enabled = true) {
  return useQuery({
    queryKey: ["storage"],
    queryFn: ({ signal }) => api.get<Storage>("/storage", {}, signal),
    refetchInterval: FIGURES_EVERY_MS,
    enabled,
  });
}

/** The stores there are besides the online one, for those who may know them. */
export function useStores(): readonly StoreState[] {
  const { may } = useSession();
  return useStorage(may("system.read")).data?.stores ?? [];
}

/** Moves as they go on; asked for where no news comes. */
export function useMoves(): { moves: Moves | undefined; error: unknown } {
  const live = liveMoves(useTopic("moves").state);
  const asked = useQuery({
    queryKey: ["moves"],
    queryFn: async ({ signal }) => {
      const page = await api.get<{ items: Move[] }>(MOVES, { state: EVERY_STATE, limit: 200 }, signal);
      return movesOf(page.items.map(shown), {});
    },
    refetchInterval: ASKED_EVERY_MS,
    enabled: !live,
  });
  return { moves: live ?? asked.data, error: live ? null : asked.error };
}

export interface MoveOrder {
  study_instance_uid: string;
  from_store: string;
  to_store: string;
  form?: string;
}

export const orderMove = ({ study_instance_uid, from_store, to_store, form = "plain" }: MoveOrder) =>
  api.post<Move>(MOVES, { study_instance_uid, from_store, to_store, form });
export const cancelMove = (id: number) => api.delete<Move>(`${MOVES}/${id}`);
export const studyPath = (study: string) => `/studies/${encodeURIComponent(study)}`;
export const recall = (study: string) => api.post<Move>(`${studyPath(study)}/recall`);

/** Where a study is, while it changes; when that has changed its images may be had, and are asked for again. */
export function useStudyStorage(study: string, enabled = true) {
  const client = useQueryClient();
  const query = useQuery({
    queryKey: ["study-storage", study],
    queryFn: ({ signal }) => api.get<StudyStorage>(`${studyPath(study)}/storage`, {}, signal),
    refetchInterval: ({ state }) => askAgainIn(state.data),
    enabled,
  });
  const availability = query.data?.availability;
  const before = useRef(availability);
  useEffect(() => {
    if (before.current !== undefined && before.current !== availability) {
      void client.invalidateQueries({ queryKey: ["study", study] });
      void client.invalidateQueries({ queryKey: ["studies"] });
    }
    before.current = availability;
  }, [availability, client, study]);
  return query;
}

/** A study as the list has it; undefined for those who may not see it. */
export function useStudy(study: string) {
  const { may } = useSession();
  return useQuery({
    queryKey: ["study", study],
    queryFn: ({ signal }) => api.get<StudyDetail>(studyPath(study), {}, signal),
    enabled: may("study.search"),
    staleTime: 600_000,
    retry: false,
  });
}
