export function SharesPage() {
  return null;
}
