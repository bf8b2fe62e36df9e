export function DeletionsPage() {
  return null;
}
