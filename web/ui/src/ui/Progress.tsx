/** How far something is; without a whole to compare with it only shows that it goes on. */
export function Progress({ done, of, label }: { done: number; of: number; label: string }) {
  return <progress className="progress" aria-label={label} {...(of > 0 && { value: Math.min(done, of), max: of })} />;
}
