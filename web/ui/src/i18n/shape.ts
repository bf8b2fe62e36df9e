import type { en } from "./en";

type Plural = "zero" | "one" | "two" | "few" | "many" | "other";
type Stem<K> = K extends `${infer S}_${Plural}` ? S : never;
/** Each language has the plural forms that it needs (one and other here), all else it has as English has it. */
type Shape<T> = {
  [K in keyof T as Stem<K> extends never ? K : never]: T[K] extends string ? string : Shape<T[K]>;
} & { [K in keyof T as Stem<K> extends never ? never : `${Stem<K>}_other`]: string } & {
  [K in keyof T as Stem<K> extends never ? never : `${Stem<K>}_${Plural}`]?: string;
};

export type Translation = Shape<typeof en>;
