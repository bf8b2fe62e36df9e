import type { ReactNode } from "react";

/** A name, its value, and a remark. */
export type Tile = readonly [name: string, value: ReactNode, note?: ReactNode];

/** Figures that are read at a glance. */
export function Tiles({ of }: { of: readonly Tile[] }) {
  return (
    <div className="tiles">
      {of.map(([name, value, note]) => (
        <div key={name} className="card tile">
          <h2>{name}</h2>
          <p>{value}</p>
          {note && <small>{note}</small>}
        </div>
      ))}
    </div>
  );
}
