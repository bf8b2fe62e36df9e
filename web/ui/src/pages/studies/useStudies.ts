import { useInfiniteQuery, useQueryClient, type InfiniteData } from "@tanstack/react-query";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { api } from "@/api/client";
import { useTopic } from "@/api/live";
import type { Page, Study } from "@/api/types";
import { arrivals } from "@/lib/merge";
import { apiQuery, type StudySearch } from "@/lib/search";

const PAGE = 100;
/** While a modality sends, news comes many times a second; the list is compared at most this often. */
const COMPARE_EVERY_MS = 2_000;
/** Where no news comes, as behind a proxy that lets no websocket through. */
const ASK_EVERY_MS = 10_000;
const uid = (study: Study) => study.study_instance_uid;

/** The studies of a search, page by page, and how many have arrived since it was shown. */
export function useStudies(search: StudySearch) {
  const client = useQueryClient();
  const key = useMemo(() => ["studies", search.filters, search.sort] as const, [search.filters, search.sort]);
  const ask = useCallback(
    (cursor: string | undefined, signal?: AbortSignal) =>
      api.get<Page<Study>>("/studies", { ...apiQuery(search), limit: PAGE, cursor }, signal),
    [search],
  );
  const query = useInfiniteQuery({
    queryKey: key,
    queryFn: ({ pageParam, signal }) => ask(pageParam, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    placeholderData: (previous) => previous,
    refetchOnWindowFocus: false,
  });

  // What has arrived is asked for by when it came: in another order it may be anywhere.
  const [fresh, setFresh] = useState<readonly string[]>([]);
  const known = useRef(new Set<string>());
  const latest = useCallback(
    () =>
      api
        .get<Page<Study>>("/studies", { ...apiQuery({ ...search, sort: "-received_at" }), limit: PAGE })
        .catch(() => undefined),
    [search],
  );
  const { n } = useTopic("studies");
  const seen = useRef(0);
  useEffect(() => {
    setFresh([]);
    known.current = new Set();
    let current = true;
    void latest().then((page) => {
      if (current) for (const study of page?.items ?? []) known.current.add(uid(study));
    });
    return () => {
      current = false;
    };
  }, [latest]);

  const compare = useCallback(async () => {
    const page = await latest();
    const shown = client.getQueryData<InfiniteData<Page<Study>, string | undefined>>(key);
    if (!page || !shown) return;
    if (!shown.pages[0]?.items.length) {
      await client.resetQueries({ queryKey: key });
      return;
    }
    const pages = shown.pages.map((one) => one.items);
    const news = arrivals(pages, page.items, uid);
    client.setQueryData(key, {
      ...shown,
      pages: shown.pages.map((one, at) => ({ ...one, total: page.total, items: news.pages[at] ?? one.items })),
    });
    setFresh(news.fresh.filter((one) => !known.current.has(one)));
  }, [latest, client, key]);

  useEffect(() => {
    if (n === 0 || seen.current === 0) {
      seen.current = n;
      return;
    }
    if (n === seen.current) return;
    const timer = setTimeout(() => {
      seen.current = n;
      void compare();
    }, COMPARE_EVERY_MS);
    return () => clearTimeout(timer);
  }, [n, compare]);

  const silent = n === 0;
  useEffect(() => {
    if (!silent) return;
    const timer = setInterval(() => void compare(), ASK_EVERY_MS);
    return () => clearInterval(timer);
  }, [silent, compare]);

  /** Brings in what has arrived; the studies that are new. */
  const showFresh = useCallback(async () => {
    for (const one of fresh) known.current.add(one);
    setFresh([]);
    await client.resetQueries({ queryKey: key });
    return fresh;
  }, [client, key, fresh]);

  const pages = query.data?.pages;
  return {
    ...query,
    studies: useMemo(() => pages?.flatMap((page) => page.items) ?? [], [pages]),
    total: pages?.at(-1)?.total ?? 0,
    exact: pages?.at(-1)?.total_exact ?? true,
    fresh,
    showFresh,
  };
}
