declare module "virtual:theme.css";
declare module "@tabler/icons-react/dist/esm/icons/*.mjs" {
  import type { Icon } from "@tabler/icons-react";
  const icon: Icon;
  export default icon;
}
declare namespace React {
  // eslint-disable-next-line @typescript-eslint/no-unused-vars -- it must look like what it extends
  interface InputHTMLAttributes<T> {
    webkitdirectory?: string;
  }
}
