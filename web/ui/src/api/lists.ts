import { useMutation, useQuery, useQueryClient, type UseQueryResult } from "@tanstack/react-query";
import { api } from "./client";
import type { Page } from "./types";

const MOST = 500;

/** A list that fits into one page: nodes, users, roles… */
export function useList<T>(path: string, enabled = true): UseQueryResult<T[]> {
  return useQuery({
    queryKey: ["list", path],
    queryFn: async ({ signal }) => {
      const answer = await api.get<Page<T> | T[]>(path, { limit: MOST }, signal);
      return Array.isArray(answer) ? answer : answer.items;
    },
    enabled,
  });
}

/** A change of such a list, which is then asked for again. */
export function useChange<V, R = unknown>(
  path: string,
  change: (values: V) => Promise<R>,
  onDone?: (answer: R) => void,
) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: change,
    onSuccess: async (answer) => {
      await client.invalidateQueries({ queryKey: ["list", path] });
      onDone?.(answer);
    },
  });
}
